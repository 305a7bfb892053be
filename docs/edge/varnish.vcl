# Varnish in front of a site, of which each page that is read is counted: see PROXIES.md.
vcl 4.1;

backend default none;

sub vcl_recv {
    return (synth(200, "a page"));
}
