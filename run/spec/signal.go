package spec

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// signals are those of signal(7) on the architectures Go knows but MIPS, each
// at its number.
var signals = [...]string{
	1: "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
	"STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
	"PWR", "SYS",
}

// The real-time signals as a libc counts them: it keeps two for itself.
const (
	firstRealTime = 34
	lastRealTime  = 64
)

// ParseSignal reads a signal's name, with or without SIG, or its number, for
// --stop-signal and an image's STOPSIGNAL: TERM, SIGRTMIN+3, 15.
func ParseSignal(s string) (int, error) {
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	n := 0
	switch {
	case isDigits(s):
		n, _ = strconv.Atoi(s) // one too large for an int is the greatest int
	case strings.HasPrefix(name, "RTMIN"):
		n = realTime(name[len("RTMIN"):], '+', firstRealTime, 1)
	case strings.HasPrefix(name, "RTMAX"):
		n = realTime(name[len("RTMAX"):], '-', lastRealTime, -1)
	case name != "":
		n = slices.Index(signals[:], name)
	}
	if n < 1 || n > lastRealTime {
		return 0, invalidf("signal %q: want a name or a number, as in SIGTERM, INT, RTMIN+3 or 15", s)
	}
	return n, nil
}

func realTime(offset string, sign byte, from, step int) int {
	if offset == "" {
		return from
	}
	n, err := strconv.Atoi(offset[1:])
	if offset[0] != sign || !isDigits(offset[1:]) || err != nil || n > lastRealTime-firstRealTime {
		return 0
	}
	return from + step*n
}

// ParseSeconds reads a number of seconds, for --stop-timeout and --timeout; -1
// is no limit and gives a negative time.
func ParseSeconds(s string) (time.Duration, error) {
	if s == "-1" {
		return -1, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, invalidf("time %q: want a number of seconds, or -1 for no limit", s)
	}
	return time.Duration(n) * time.Second, nil
}
