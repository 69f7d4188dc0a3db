package spec

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ParseUlimit reads --ulimit NAME=SOFT[:HARD]; -1 is no limit, and the hard
// limit is the soft one unless given.
func ParseUlimit(s string) (specs.POSIXRlimit, error) {
	name, value, ok := strings.Cut(s, "=")
	typ := "RLIMIT_" + strings.ToUpper(name)
	if !ok || name != strings.ToLower(name) || !slices.Contains(rlimits[:], typ) {
		return specs.POSIXRlimit{}, invalidf("ulimit %q: want NAME=SOFT[:HARD], as in nofile=1024:4096, with a name of ulimit(1) such as core, nofile, nproc or memlock", s)
	}
	soft, hard, isPair := strings.Cut(value, ":")
	if !isPair {
		hard = soft
	}
	a, okA := parseLimit(soft)
	b, okB := parseLimit(hard)
	switch {
	case !okA || !okB:
		return specs.POSIXRlimit{}, invalidf("ulimit %q: want numbers, or -1 for no limit", s)
	case a > b:
		return specs.POSIXRlimit{}, invalidf("ulimit %q: the soft limit is above the hard one", s)
	}
	return specs.POSIXRlimit{Type: typ, Soft: a, Hard: b}, nil
}

// parseLimit: RLIM_INFINITY is all ones.
func parseLimit(s string) (uint64, bool) {
	if s == "-1" {
		return math.MaxUint64, true
	}
	n, err := strconv.ParseUint(s, 10, 63)
	return n, err == nil
}
