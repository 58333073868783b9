package binlog

import "testing"

// TestFloatsAsPHPWritesThem: what PHP 8.2's json_encode gave for these, with
// serialize_precision at its default of -1.
func TestFloatsAsPHPWritesThem(t *testing.T) {
	for _, c := range []struct {
		f    float64
		want string
	}{
		{0, "0"},
		{1, "1"},
		{-2.5, "-2.5"},
		{0.1, "0.1"},
		{0.0001, "0.0001"},
		{0.00012, "0.00012"},
		{1e-5, "1.0e-5"},
		{1.5e-7, "1.5e-7"},
		{1e15, "1000000000000000"},
		{12345678901234567, "12345678901234568"},
		{1e16, "10000000000000000"},
		{1e17, "1.0e+17"},
		{123456789012345678, "1.2345678901234568e+17"},
		{-1e18, "-1.0e+18"},
		{999999999999999868928, "9.999999999999999e+20"},
		{1e100, "1.0e+100"},
		{1.7976931348623157e308, "1.7976931348623157e+308"},
		{5e-324, "5.0e-324"},
	} {
		if got := string(appendFloat([]byte("x"), c.f, 64)); got != "x"+c.want {
			t.Errorf("%g became %s, want %s", c.f, got[1:], c.want)
		}
	}
}
