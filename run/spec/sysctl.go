package spec

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ParseSysctl reads --sysctl NAME=VALUE. Only switches that each namespace has
// of its own are let through; another one would be the host's.
func ParseSysctl(s string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || value == "" {
		return "", "", invalidf("sysctl %q: want NAME=VALUE, as in kernel.shmmax=65536", s)
	}
	if err := checkSysctl(name, value); err != nil {
		return "", "", err
	}
	return name, value, nil
}

func checkSysctl(name, value string) error {
	switch {
	case !isSysctlName(name):
		return invalidf("sysctl %q: want a name with dots, as in net.ipv4.ip_forward", name)
	case strings.ContainsAny(value, "\x00\n"):
		return invalidf("sysctl %s: value %q has a line's end or NUL in it", name, value)
	case name == "kernel.hostname":
		return invalidf("sysctl kernel.hostname: use --hostname")
	case sysctlNamespace(name) == "":
		return invalidf("sysctl %s: it is the host's, and not one that a container has of its own", name)
	}
	return nil
}

// isSysctlName keeps to words with dots between: the name becomes a path with
// its dots as slashes, which no other character may turn elsewhere.
func isSysctlName(s string) bool {
	for word := range strings.SplitSeq(s, ".") {
		if word == "" || !all(word, func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' }) {
			return false
		}
	}
	return true
}

// sysctlNamespace says which kind of namespace has a switch, "" for none.
func sysctlNamespace(name string) specs.LinuxNamespaceType {
	switch name {
	case "kernel.domainname":
		return specs.UTSNamespace
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
		"kernel.shmmni", "kernel.shm_rmid_forced":
		return specs.IPCNamespace
	}
	switch {
	case strings.HasPrefix(name, "fs.mqueue."):
		return specs.IPCNamespace
	case strings.HasPrefix(name, "net."):
		return specs.NetworkNamespace
	}
	return ""
}

// checkSysctls wants a namespace of the run's own for each.
func checkSysctls(s *specs.Spec) error {
	for _, name := range slices.Sorted(maps.Keys(s.Linux.Sysctl)) {
		if err := checkSysctl(name, s.Linux.Sysctl[name]); err != nil {
			return err
		}
		if kind := sysctlNamespace(name); !hasNamespace(s, kind) {
			return invalidf("sysctl %s: it would be set for the host, whose %s namespace this is", name, kind)
		}
	}
	return nil
}
