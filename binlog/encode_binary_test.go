package binlog

import "testing"

// TestAddressesAllocateNothing: they are common keys.
func TestAddressesAllocateNothing(t *testing.T) {
	for kind, size := range binarySizes {
		raw, _ := (&Column{Kind: kind}).addressAppenders()
		value, buf := make([]byte, size-1), make([]byte, 0, 100)
		if n := testing.AllocsPerRun(100, func() { buf, _ = raw(buf[:0], value) }); n != 0 {
			t.Errorf("%s: %g allocations", kind, n)
		}
	}
}
