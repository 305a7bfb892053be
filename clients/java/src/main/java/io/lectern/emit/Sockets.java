package io.lectern.emit;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.net.UnknownHostException;
import java.nio.channels.DatagramChannel;
import java.nio.channels.SocketChannel;
import java.util.concurrent.atomic.AtomicReference;

/** Makes sockets, in a thread, since resolving a name and connecting take their time. */
final class Sockets {
    private static final int CONNECT_TIMEOUT = 10_000;

    private Sockets() {}

    /** Makes a socket to an address; it may wait. */
    interface Maker<S> {
        S make(InetSocketAddress to) throws IOException;
    }

    /** What became of an attempt. */
    private record Made<S>(S socket, IOException error) {}

    static <S> Dialer<S> inBackground(String host, int port, Maker<S> maker) {
        AtomicReference<Made<S>> made = new AtomicReference<>();
        return new Dialer<>() {
            @Override
            public void start() {
                made.set(null);
                Thread thread = new Thread(this::make, "lectern-dial");
                thread.setDaemon(true);
                thread.start();
            }

            private void make() {
                try {
                    made.set(new Made<>(first(host, port, maker), null));
                } catch (IOException e) {
                    made.set(new Made<>(null, e));
                } catch (RuntimeException e) {
                    made.set(new Made<>(null, new IOException(e)));
                }
            }

            @Override
            public S poll() throws IOException {
                Made<S> result = made.get();
                if (result == null) {
                    return null;
                }
                if (result.error != null) {
                    throw result.error;
                }
                return result.socket;
            }
        };
    }

    /** A socket to the first of a name's addresses to which one can be made. */
    static <S> S first(String host, int port, Maker<S> maker) throws IOException {
        IOException last = new UnknownHostException(host);
        for (InetAddress address : InetAddress.getAllByName(host)) {
            try {
                return maker.make(new InetSocketAddress(address, port));
            } catch (IOException e) {
                last = e;
            }
        }
        throw last;
    }

    static DatagramChannel udp(InetSocketAddress to) throws IOException {
        DatagramChannel channel = DatagramChannel.open();
        try {
            channel.configureBlocking(false);
            channel.connect(to);
            return channel;
        } catch (IOException e) {
            channel.close();
            throw e;
        }
    }

    static SocketChannel tcp(InetSocketAddress to) throws IOException {
        SocketChannel channel = SocketChannel.open();
        try {
            channel.socket().connect(to, CONNECT_TIMEOUT);
            channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
            channel.configureBlocking(false);
            return channel;
        } catch (IOException e) {
            channel.close();
            throw e;
        }
    }
}
