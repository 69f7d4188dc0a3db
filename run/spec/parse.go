package spec

import (
	"cmp"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// ParseBytes reads a size as docker writes it: a number, which may have a
// fraction, and a unit, each letter 1024 times the one before: b k m g t p.
func ParseBytes(s string) (int64, error) {
	number, unit, ok := splitUnit(s)
	if ok {
		var n uint64
		if n, ok = scale(number, unit); ok && n <= math.MaxInt64 {
			return int64(n), nil
		}
	}
	return 0, invalidf("size %q: want a number and a unit of b, k, m, g, t or p, as in 512m or 1.5g, below 8192p", s)
}

// ParseSwap is ParseBytes, with -1 for no limit.
func ParseSwap(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	n, err := ParseBytes(s)
	if err != nil {
		return 0, invalidf("%v, or -1 for no limit", err)
	}
	return n, nil
}

// splitUnit takes "1.5 GiB", "1.5gb" and "1.5G" alike.
func splitUnit(s string) (number string, unit uint64, ok bool) {
	end := strings.LastIndexAny(s, "0123456789.") + 1
	number, suffix := s[:end], s[end:]
	if len(suffix) > 1 {
		suffix = strings.TrimPrefix(suffix, " ")
	}
	suffix = strings.ToLower(suffix)
	if suffix == "" || suffix == "b" {
		return number, 1, true
	}
	power := strings.IndexByte("kmgtp", suffix[0])
	if rest := suffix[1:]; power < 0 || rest != "" && rest != "b" && rest != "ib" {
		return "", 0, false
	}
	return number, 1 << (10 * (power + 1)), true
}

// scale is s × unit, rounded down, computed in integers: as a float 0.1 would
// be a little off, and "nan", "inf" and "0x1p9" would be numbers.
func scale(s string, unit uint64) (uint64, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if !isDigits(whole + fraction) {
		return 0, false
	}
	const precision = 18 // 10^18 is in an uint64
	if len(fraction) > precision {
		return 0, false
	}
	w, err := strconv.ParseUint(cmp.Or(whole, "0"), 10, 64)
	if err != nil {
		return 0, false
	}
	fraction += strings.Repeat("0", precision-len(fraction))
	f, err := strconv.ParseUint(fraction, 10, 64)
	if err != nil {
		return 0, false
	}
	over, n := bits.Mul64(w, unit)
	// f < 10^18, hence hi < 10^18 and Div64 can't panic.
	hi, lo := bits.Mul64(f, unit)
	part, _ := bits.Div64(hi, lo, 1e18)
	n, carry := bits.Add64(n, part, 0)
	return n, over == 0 && carry == 0
}

const (
	cpuPeriod = 100_000   // µs: the kernel's default
	minQuota  = 1000      // µs: the kernel's least
	maxQuota  = 1<<44 - 1 // µs: the kernel's most (MAX_BW)
)

// ParseCPUs reads a number of CPUs, which may have a fraction, and gives the
// time in microseconds to be used at most in each period.
func ParseCPUs(s string) (quota int64, period uint64, err error) {
	n, ok := scale(s, cpuPeriod)
	if !ok || n < minQuota || n > maxQuota {
		return 0, 0, invalidf("number of CPUs %q: want a number from 0.01, as in 2 or 1.5", s)
	}
	return int64(n), cpuPeriod, nil
}

// ParseRate reads DEVICE:SIZE, bytes a second, as in /dev/sda:10mb.
func ParseRate(s string) (device string, rate uint64, err error) {
	device, value := splitDevice(s)
	n, err := ParseBytes(value)
	if device == "" || err != nil || n == 0 {
		return "", 0, invalidf("rate %q: want DEVICE:SIZE a second, as in /dev/sda:10mb", s)
	}
	return device, uint64(n), nil
}

// ParseIOPS reads DEVICE:COUNT, operations a second, as in /dev/sda:1000.
func ParseIOPS(s string) (device string, rate uint64, err error) {
	device, value := splitDevice(s)
	n, err := strconv.ParseUint(value, 10, 64)
	if device == "" || err != nil || n == 0 {
		return "", 0, invalidf("rate %q: want DEVICE:COUNT of operations a second, as in /dev/sda:1000", s)
	}
	return device, n, nil
}

// splitDevice cuts at the last colon: /dev/disk/by-path has some in its names.
func splitDevice(s string) (device, value string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !strings.HasPrefix(s, "/dev/") {
		return "", ""
	}
	return s[:i], s[i+1:]
}

// parseSet checks a list of numbers and ranges, as in 0-3,8.
func parseSet(s string) bool {
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, ok := number(first)
		if isRange && ok {
			b, valid := number(last)
			ok = valid && a <= b
		}
		if !ok {
			return false
		}
	}
	return true
}

func isDigits(s string) bool {
	return s != "" && all(s, func(c byte) bool { return '0' <= c && c <= '9' })
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// maxName is the kernel's limit on a host name (__NEW_UTS_LEN).
const maxName = 64

// isName holds for run ids, which name cgroups and directories, and for host
// names, which are written into /etc/hosts: neither may hold a slash, a space
// or a line's end.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && isAlnum(s[0]) &&
		all(s, func(c byte) bool { return isAlnum(c) || c == '_' || c == '.' || c == '-' })
}

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
