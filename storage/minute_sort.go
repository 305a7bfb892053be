package storage

import "slices"

// sortSlots orders slots by content and user.
func sortSlots(s []minuteSlot) {
	slices.SortFunc(s, func(a, b minuteSlot) int { return compareSlots(&a, &b) })
}
