package io.lectern.emit;

import java.io.IOException;

/** How an engine comes by its sockets, without ever waiting for one. */
interface Dialer<S> {
    /** Begins to make a socket. The name is resolved anew for each. */
    void start();

    /**
     * Returns the socket, or null while it is being made. An engine asks from start on until then.
     *
     * @throws IOException if there is none
     */
    S poll() throws IOException;
}
