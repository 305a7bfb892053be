package storage

// Mark says which rows are in segments: those of the seals up to Through and of
// minutes before Before, in Unix seconds; All is every minute. From one Mark to the
// next neither number is less, but after one of All.
type Mark struct{ Through, Before uint64 }
