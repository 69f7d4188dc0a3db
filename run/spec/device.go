package spec

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Device is a device node to be made inside; its Path is the one there.
type Device struct {
	specs.LinuxDevice
	Access string // of r, w and m
}

// ParseDevice reads --device SOURCE[:DESTINATION][:ACCESS]. stat gives the node
// at a path of the host's, or all those beneath a directory, with the host's
// paths.
func ParseDevice(s string, stat func(name string) ([]specs.LinuxDevice, error)) ([]Device, error) {
	parts := strings.Split(s, ":")
	source, dest, access := parts[0], parts[0], "rwm"
	switch {
	case len(parts) == 2 && isAccess(parts[1]):
		access = parts[1]
	case len(parts) == 2:
		dest = parts[1]
	case len(parts) == 3:
		dest, access = parts[1], parts[2]
	}
	if len(parts) > 3 || !path.IsAbs(source) || !path.IsAbs(dest) || !isAccess(access) || hasNUL(s) {
		return nil, invalidf("device %q: want SOURCE[:DESTINATION][:ACCESS], as in /dev/fuse or /dev/sda:/dev/xvda:rw", s)
	}
	nodes, err := stat(source)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, invalidf("device %q: %s is neither a device nor a directory with some", s, source)
	}
	var out []Device
	for _, n := range nodes {
		n.Path = path.Join(dest, strings.TrimPrefix(n.Path, path.Clean(source)))
		out = append(out, Device{n, access})
	}
	return out, nil
}

// isAccess holds for each of r, w and m once at most.
func isAccess(s string) bool {
	for i := range len(s) {
		if strings.IndexByte("rwm", s[i]) < 0 || strings.IndexByte(s[i+1:], s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}

// newDevices gives the nodes: those asked for and, in a privileged run, the
// host's, but for what /dev has anyway.
func newDevices(o Options) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	taken := map[string]bool{}
	for _, d := range o.Devices {
		d.Path = path.Clean(d.Path)
		switch {
		case taken[d.Path]:
			return nil, invalidf("device %s: given twice", d.Path)
		case !isAccess(d.Access):
			return nil, invalidf("device %s: access %q: want some of r, w and m", d.Path, d.Access)
		case !strings.Contains(d.Access, "r") || !strings.Contains(d.Access, "w"):
			// It takes a device cgroup; to give more than was asked is no way out.
			return nil, invalidf("device %s: access %q is not supported: umiak can't take reading or writing away; want rw or rwm", d.Path, d.Access)
		}
		taken[d.Path] = true
		out = append(out, d.LinuxDevice)
	}
	if !o.Privileged {
		return out, nil
	}
	for _, d := range o.HostDevices {
		if !taken[path.Clean(d.Path)] && !ownDevice(d.Path) {
			out = append(out, d.LinuxDevice)
		}
	}
	return out, nil
}

// ownDevice tells what /dev has of its own.
func ownDevice(p string) bool {
	name, inDev := strings.CutPrefix(path.Clean(p), "/dev/")
	first, _, _ := strings.Cut(name, "/")
	return inDev && slices.Contains([]string{
		"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx",
		"pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr", "core",
	}, first)
}

// deviceRules allow what newDevices lists.
func deviceRules(o Options) []specs.LinuxDeviceCgroup {
	if o.Privileged {
		return []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	var out []specs.LinuxDeviceCgroup
	for _, d := range o.Devices {
		out = append(out, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: new(d.Major), Minor: new(d.Minor), Access: d.Access})
	}
	return out
}

func checkDevices(s *specs.Spec) error {
	for _, d := range s.Linux.Devices {
		switch {
		case !path.IsAbs(d.Path) || hasNUL(d.Path):
			return invalidf("device %q: want an absolute path", d.Path)
		case !slices.Contains([]string{"c", "u", "b", "p"}, d.Type):
			return invalidf("device %s: type %q: want c, b or p", d.Path, d.Type)
		case d.Major < 0 || d.Minor < 0 || d.Major > 1<<12-1 || d.Minor > 1<<20-1: // dev_t has 12 and 20 bits
			return invalidf("device %s: %d:%d is not a device number", d.Path, d.Major, d.Minor)
		}
	}
	return nil
}
