/**
 * Sends read events to a Lectern collector, over UDP or acknowledged TCP: see {@link io.lectern.emit.Emitter}.
 */
package io.lectern.emit;
