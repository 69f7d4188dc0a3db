package spec

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maskedPaths tell of the host or hold its secrets: docker 28's list.
var maskedPaths = [...]string{
	"/proc/acpi",
	"/proc/asound",
	"/proc/interrupts", // a side channel: GHSA-6fw5-f8r9-fgfm
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/sys/devices/virtual/powercap", // power is one too: CVE-2020-8694
	"/sys/firmware",
}

// readonlyPaths change the host when written to: docker's list.
var readonlyPaths = [...]string{
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
}

// newLinux leaves Devices empty if none is asked for, which by the runtime-spec
// means the default ones: null, zero, full, random, urandom, tty and the ptmx
// link.
func newLinux(o Options, bounding []string) (*specs.Linux, error) {
	resources, err := newResources(o)
	if err != nil {
		return nil, err
	}
	out := &specs.Linux{
		Resources:         resources,
		RootfsPropagation: rootPropagation(o.Volumes),
		Sysctl:            maps.Clone(o.Sysctls),
	}
	if out.Namespaces, err = o.Namespaces.list(o.Network); err != nil {
		return nil, err
	}
	if out.MaskedPaths, out.ReadonlyPaths, err = hiddenPaths(o); err != nil {
		return nil, err
	}
	if out.Devices, err = newDevices(o); err != nil {
		return nil, err
	}
	if out.CgroupsPath, err = newCgroupsPath(o); err != nil {
		return nil, err
	}
	if out.Seccomp, err = newSeccomp(o, bounding); err != nil {
		return nil, err
	}
	return out, nil
}

// newResources adds the rules for devices, which umiak's own cgroups have no
// use for and other runtimes need: without them they deny a device's use.
func newResources(o Options) (*specs.LinuxResources, error) {
	out, err := o.Resources.linux()
	if err != nil {
		return nil, err
	}
	rules := deviceRules(o)
	if len(rules) > 0 {
		if out == nil {
			out = &specs.LinuxResources{}
		}
		out.Devices = rules
	}
	return out, nil
}

// newCgroupsPath places the run's group beneath a parent of the user's, where
// the name shows whose it is.
func newCgroupsPath(o Options) (string, error) {
	p := o.CgroupParent
	if p == "" {
		return "", nil
	}
	if hasNUL(p) || slices.Contains(strings.Split(p, "/"), "..") {
		return "", invalidf("parent cgroup %q: want a path without .., as in /ci/job1", p)
	}
	return path.Join(p, "umiak-"+o.ID), nil
}

// hiddenPaths gives the masked and the read-only ones. What --privileged or
// unmask=ALL opens, mask= can close again.
func hiddenPaths(o Options) (masked, readOnly []string, err error) {
	masked, readOnly = slices.Concat(maskedPaths[:], o.MaskedPaths), slices.Clone(readonlyPaths[:])
	if o.Privileged {
		masked, readOnly = nil, nil
	}
	for _, pattern := range o.Security.Unmask {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, nil, invalidf("path to unmask %q: %v", pattern, err)
		}
		opened := func(p string) bool {
			match, _ := path.Match(pattern, p)
			return match || pattern == unmaskAll
		}
		masked, readOnly = slices.DeleteFunc(masked, opened), slices.DeleteFunc(readOnly, opened)
	}
	for _, p := range o.Security.Mask {
		if !slices.Contains(masked, p) {
			masked = append(masked, p)
		}
	}
	return masked, readOnly, nil
}
