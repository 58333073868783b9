package binlog

import (
	"fmt"
	"strconv"
	"time"
)

// clock is a date and time as a column holds it; any part may be zero.
type clock struct {
	year, month, day, hour, minute, second, micro int
}

// valid says whether there is such a day. Zero and partial dates, and days such
// as February 31, which MySQL can store and a calendar does not know, become
// null as datetimes and keep their text as strings.
func (k clock) valid() bool {
	return k.month != 0 && k.day != 0 && (k.day <= 28 || k.day <= daysIn(k.year, k.month))
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month+1), 0, 0, 0, 0, 0, time.UTC).Day()
}

var tens = [7]int{1000000, 100000, 10000, 1000, 100, 10, 1}

// micros reads a fraction of so many digits from its bytes: two digits to a byte.
func micros(v []byte, digits int) int {
	return int(unsignedBE(v)) * tens[(digits+1)/2*2]
}

// readDate reads a DATE: day, month and year in 5, 4 and 15 bits.
func readDate(v []byte) clock {
	n := int(unsignedLE(v))
	return clock{year: n >> 9, month: n >> 5 & 15, day: n & 31}
}

// readDateTime reads a DATETIME(n) (my_datetime_packed_from_binary in
// mysys/my_time.cc): year*13+month, day, hour, minute and second in
// 17, 5, 5, 6 and 6 bits, big-endian, then the fraction.
func readDateTime(v []byte, fraction int) clock {
	n := int(unsignedBE(v[:5])) - 0x8000000000
	ym := n >> 22
	return clock{
		year: ym / 13, month: ym % 13, day: n >> 17 & 31,
		hour: n >> 12 & 31, minute: n >> 6 & 63, second: n & 63,
		micro: micros(v[5:], fraction),
	}
}

// parseClock reads the server's text: "2026-11-22", perhaps " 17:25:39", perhaps ".123456".
func parseClock(v []byte) (clock, error) {
	var k clock
	number := func(from, to int) (n int) {
		for _, b := range v[from:to] {
			n = n*10 + int(b-'0')
		}
		return n
	}
	if len(v) < 10 {
		return k, errShort
	}
	if len(v) > len("2026-11-22 17:25:39.123456") {
		return k, fmt.Errorf("%.40q is longer than a date and time", v)
	}
	k.year, k.month, k.day = number(0, 4), number(5, 7), number(8, 10)
	if len(v) >= 19 {
		k.hour, k.minute, k.second = number(11, 13), number(14, 16), number(17, 19)
	}
	if len(v) > 20 {
		k.micro = number(20, len(v)) * tens[len(v)-20]
	}
	return k, nil
}

func (c *Column) dateAppenders(cast Cast, loc *time.Location) (raw, text appender) {
	zone := loc
	if c.Kind == Timestamp {
		zone = time.UTC
	}
	form := func(dst []byte, k clock) []byte { return appendISO(dst, k, zone) }
	switch {
	case cast == CastTimestamp:
		form = func(dst []byte, k clock) []byte {
			if !k.valid() {
				return append(dst, "null"...)
			}
			return strconv.AppendInt(dst, k.in(zone).Unix(), 10)
		}
	case cast == CastString && c.Kind == Date:
		form = func(dst []byte, k clock) []byte {
			return append(appendDay(append(dst, '"'), k), '"')
		}
	case cast == CastString:
		form = func(dst []byte, k clock) []byte {
			if c.Kind == Timestamp && k.valid() { // shown as Laravel's session shows it
				k = clockOf(k.in(time.UTC).In(loc))
			}
			dst = append(appendDay(append(dst, '"'), k), ' ')
			dst = appendTimeOfDay(dst, k.hour, k.minute, k.second, k.micro, c.fraction)
			return append(dst, '"')
		}
	}
	read := c.clockReader()
	raw = func(dst, v []byte) ([]byte, error) { return form(dst, read(v)), nil }
	text = func(dst, v []byte) ([]byte, error) {
		k, err := parseClock(v)
		return form(dst, k), err
	}
	return raw, text
}

// clockReader reads a DATE, DATETIME or TIMESTAMP (in UTC) from the log's bytes.
func (c *Column) clockReader() func(v []byte) clock {
	switch c.Kind {
	case DateTime:
		return func(v []byte) clock { return readDateTime(v, c.fraction) }
	case Timestamp:
		return func(v []byte) clock {
			seconds, micro := int64(unsignedBE(v[:4])), micros(v[4:], c.fraction)
			if seconds == 0 {
				return clock{micro: micro}
			}
			return clockOf(time.UnixMicro(seconds*1e6 + int64(micro)).UTC())
		}
	default:
		return readDate
	}
}

func clockOf(t time.Time) clock {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return clock{year, int(month), day, hour, minute, second, t.Nanosecond() / 1000}
}

// in is the instant of a local time. One that a change of the clocks skips
// or repeats is read with the offset before the change, as PHP does it;
// time.Date does not say which it takes.
func (k clock) in(loc *time.Location) time.Time {
	t := time.Date(k.year, time.Month(k.month), k.day, k.hour, k.minute, k.second, k.micro*1000, time.UTC)
	if loc == time.UTC {
		return t
	}
	offset := func(at time.Time) time.Duration {
		_, seconds := at.In(loc).Zone()
		return time.Duration(seconds) * time.Second
	}
	before, after := offset(t.Add(-24*time.Hour)), offset(t.Add(24*time.Hour))
	if late := t.Add(-after); before != after && offset(t.Add(-before)) != before && offset(late) == after {
		return late.In(loc)
	}
	return t.Add(-before).In(loc)
}

// appendISO writes what Carbon's toJSON gives: UTC, six digits, Z.
func appendISO(dst []byte, k clock, loc *time.Location) []byte {
	if !k.valid() {
		return append(dst, "null"...)
	}
	if loc != time.UTC {
		k = clockOf(k.in(loc).UTC())
	}
	dst = append(appendDay(append(dst, '"'), k), 'T')
	dst = appendTimeOfDay(dst, k.hour, k.minute, k.second, k.micro, 6)
	return append(dst, 'Z', '"')
}

// appendTwo writes a number below 100 as two digits.
func appendTwo(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10%10), byte('0'+n%10))
}

func appendDay(dst []byte, k clock) []byte {
	dst = append(appendTwo(appendTwo(dst, k.year/100), k.year%100), '-')
	dst = append(appendTwo(dst, k.month), '-')
	return appendTwo(dst, k.day)
}

func appendTimeOfDay(dst []byte, hour, minute, second, micro, fraction int) []byte {
	if hour > 99 { // TIME goes to 838
		dst = append(dst, byte('0'+hour/100))
		hour %= 100
	}
	dst = append(appendTwo(dst, hour), ':')
	dst = append(appendTwo(dst, minute), ':')
	dst = appendTwo(dst, second)
	if fraction > 0 {
		dst = append(dst, '.')
		dst = appendPadded(dst, uint64(micro/tens[fraction]), fraction)
	}
	return dst
}

// appendTime writes a TIME(n) (my_time_packed_from_binary in
// mysys/my_time.cc): hour, minute and second in 10, 6 and 6 bits and the
// fraction, all of it one signed number with an offset.
func (c *Column) appendTime(dst, v []byte) ([]byte, error) {
	bytes := len(v) - 3
	if bytes < 0 {
		return dst, errShort
	}
	n := int64(unsignedBE(v)) - 0x800000<<(8*bytes)
	dst = append(dst, '"')
	if n < 0 {
		dst = append(dst, '-')
		n = -n
	}
	whole := int(n >> (8 * bytes))
	fraction := int(n&(1<<(8*bytes)-1)) * tens[2*bytes]
	if whole>>12 > 838 {
		return dst, fmt.Errorf("%d hours", whole>>12)
	}
	dst = appendTimeOfDay(dst, whole>>12, whole>>6&63, whole&63, fraction, c.fraction)
	return append(dst, '"'), nil
}
