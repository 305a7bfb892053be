/** Sends read events to a Lectern collector. */
module io.lectern.emit {
    exports io.lectern.emit;
}
