package spec

import (
	"path"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultShmSize is docker's.
const defaultShmSize = 64 << 20

// namespaces are always new. A cgroup namespace, with the read-only mount of
// /sys/fs/cgroup, keeps the host's groups out of reach (CVE-2023-25809).
var namespaces = [...]specs.LinuxNamespaceType{
	specs.PIDNamespace, specs.MountNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace,
}

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

// newLinux leaves Devices empty, which by the runtime-spec means the default
// ones: null, zero, full, random, urandom, tty and the ptmx link.
func newLinux(o Options) (*specs.Linux, error) {
	resources, err := o.Resources.linux()
	if err != nil {
		return nil, err
	}
	out := &specs.Linux{
		Resources:     resources,
		MaskedPaths:   slices.Concat(maskedPaths[:], o.MaskedPaths),
		ReadonlyPaths: slices.Clone(readonlyPaths[:]),
	}
	for _, t := range namespaces {
		out.Namespaces = append(out.Namespaces, specs.LinuxNamespace{Type: t})
	}
	switch o.Network {
	case "", "host":
	case "none":
		out.Namespaces = append(out.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	default:
		return nil, invalidf("network %q: want host or none", o.Network)
	}
	return out, nil
}

// newMounts puts the user's after the default ones, so that one may lie
// beneath another; one with a default's destination stands instead of it.
func newMounts(o Options) ([]specs.Mount, error) {
	if o.ShmSize < 0 {
		return nil, invalidf("size of /dev/shm %d: must not be negative", o.ShmSize)
	}
	taken := map[string]bool{}
	for _, m := range o.Mounts {
		taken[path.Clean(m.Destination)] = true
	}
	var out []specs.Mount
	for _, m := range defaultMounts(o.ShmSize) {
		if !taken[m.Destination] {
			out = append(out, m)
		}
	}
	return slices.Concat(out, o.Mounts), nil
}

// defaultMounts are docker's, in the order in which they are mounted. The type
// "cgroup" means version 1 or 2, whichever the machine has. gid 5 is tty.
func defaultMounts(shm int64) []specs.Mount {
	if shm == 0 {
		shm = defaultShmSize
	}
	size := "size=" + strconv.FormatInt(shm, 10)
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc",
			Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", size}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs",
			Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"ro", "nosuid", "noexec", "nodev", "relatime"}},
	}
}
