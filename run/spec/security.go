package spec

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	unmaskAll  = "ALL"
	unconfined = "unconfined"
)

// Security is what the --security-opt flags say together.
type Security struct {
	NoNewPrivileges bool
	Seccomp         string   // "" = the default profile, "unconfined" = none, else the file with it
	Mask            []string // absolute paths
	Unmask          []string // absolute paths, with the wildcards of path.Match, or "ALL"
	WritableCgroups bool     // /sys/fs/cgroup may be written to
}

// ParseSecurityOpt adds one --security-opt NAME[=VALUE] to what earlier ones
// said. What this machine or umiak does not have is taken only if it asks to
// be without.
func ParseSecurityOpt(s string, to *Security) error {
	separator := "="
	if !strings.Contains(s, separator) {
		separator = ":" // docker's older spelling
	}
	name, value, hasValue := strings.Cut(s, separator)
	var err error
	switch name {
	case "no-new-privileges":
		err = setBool(&to.NoNewPrivileges, value, hasValue)
	case "writable-cgroups":
		err = setBool(&to.WritableCgroups, value, hasValue)
	case "seccomp":
		err = to.setSeccomp(value)
	case "mask":
		to.Mask, err = addPaths(to.Mask, value)
	case "unmask":
		if value == unmaskAll {
			value, to.Unmask = "", append(to.Unmask, unmaskAll)
			break
		}
		to.Unmask, err = addPaths(to.Unmask, value)
	case "systempaths":
		if err = oneOf(name, value, unconfined); err == nil {
			to.Unmask = append(to.Unmask, unmaskAll)
		}
	case "apparmor":
		err = onlyWithout("AppArmor profiles", value, unconfined)
	case "label":
		err = onlyWithout("SELinux labels", value, "disable")
	default:
		err = invalidf("unknown; want seccomp=, no-new-privileges, mask=, unmask=, systempaths=unconfined or writable-cgroups")
	}
	if err != nil {
		return invalidf("security option %q: %v", s, err)
	}
	return nil
}

func onlyWithout(what, value, without string) error {
	if value == without {
		return nil
	}
	return invalidf("%s are not supported; only %s is", what, without)
}

func setBool(to *bool, value string, hasValue bool) (err error) {
	*to = true
	if hasValue {
		if *to, err = strconv.ParseBool(value); err != nil {
			return invalidf("want true or false")
		}
	}
	return nil
}

func (s *Security) setSeccomp(value string) error {
	if value == "" || hasNUL(value) {
		return invalidf("want the file of a profile, or unconfined")
	}
	if value == "builtin" || value == "default" {
		value = ""
	}
	s.Seccomp = value
	return nil
}

// addPaths reads paths with colons between them.
func addPaths(list []string, value string) ([]string, error) {
	for p := range strings.SplitSeq(value, ":") {
		if _, err := path.Match(p, ""); err != nil || !path.IsAbs(p) || hasNUL(p) {
			return nil, invalidf("want absolute paths with colons between them")
		}
		list = append(list, path.Clean(p))
	}
	return list, nil
}

// writesCgroups: to unmask the mount by its name is podman's way to ask for it.
// ALL does not, since it says nothing of cgroups to docker.
func (s Security) writesCgroups() bool {
	return s.WritableCgroups || slices.Contains(s.Unmask, cgroupPath)
}

// newSeccomp has docker's rule: a privileged run has no profile unless one is
// named.
func newSeccomp(o Options, bounding []string) (*specs.LinuxSeccomp, error) {
	named := o.Security.Seccomp
	switch {
	case named == unconfined, named == "" && o.Privileged:
		return nil, nil
	case o.Seccomp == nil && named != "":
		return nil, invalidf("seccomp profile %q: nothing to read it with", named)
	case o.Seccomp == nil:
		return nil, nil
	}
	return o.Seccomp(bounding)
}
