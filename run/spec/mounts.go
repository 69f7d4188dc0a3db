package spec

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultShmSize is docker's.
const defaultShmSize = 64 << 20

const (
	shmPath     = "/dev/shm"
	cgroupPath  = "/sys/fs/cgroup"
	zonePath    = "/etc/localtime"
	propPrivate = "rprivate"
)

// newMounts puts the user's and the caller's after the default ones, so that
// one may lie beneath another; one with a default's destination stands instead
// of it, and a user's instead of a caller's.
func newMounts(o Options) ([]specs.Mount, error) {
	users, err := userMounts(o.Volumes)
	if err != nil {
		return nil, err
	}
	defaults, err := ownMounts(o)
	if err != nil {
		return nil, err
	}
	taken := destinations(users)
	more := leaveOut(slices.Concat(o.Mounts, optionalMounts(o)), taken)
	for dest := range destinations(more) {
		taken[dest] = true
	}
	if destinations(users)["/dev"] { // the user's own, whole
		defaults = slices.DeleteFunc(defaults, func(m specs.Mount) bool { return strings.HasPrefix(m.Destination, "/dev/") })
	}
	late := slices.Concat(more, users)
	slices.SortStableFunc(late, func(a, b specs.Mount) int {
		return cmp.Compare(depth(a.Destination), depth(b.Destination))
	})
	return slices.Concat(leaveOut(defaults, taken), late), nil
}

// depth sorts mounts as docker does: what lies beneath comes later, in
// whatever order the flags were.
func depth(dest string) int { return strings.Count(path.Clean(dest), "/") }

func destinations(list []specs.Mount) map[string]bool {
	out := map[string]bool{}
	for _, m := range list {
		out[path.Clean(m.Destination)] = true
	}
	return out
}

func leaveOut(list []specs.Mount, taken map[string]bool) []specs.Mount {
	return slices.DeleteFunc(slices.Clone(list), func(m specs.Mount) bool { return taken[path.Clean(m.Destination)] })
}

// ownMounts are the default ones, as the namespaces and the privileges want
// them.
func ownMounts(o Options) ([]specs.Mount, error) {
	if o.ShmSize < 0 {
		return nil, invalidf("size of /dev/shm %d: must not be negative", o.ShmSize)
	}
	shared := o.Namespaces.IPC == modeHost || o.Namespaces.IPC == modeNone
	if shared && o.ShmSize != 0 {
		return nil, invalidf("size of /dev/shm: with IPC mode %s there is none to size", o.Namespaces.IPC)
	}
	list := defaultMounts(o.ShmSize)
	for i := range list {
		m := &list[i]
		writable := o.Privileged && m.Destination == "/sys" ||
			m.Destination == cgroupPath && (o.Privileged || o.Security.writesCgroups())
		if writable {
			m.Options = slices.DeleteFunc(m.Options, func(s string) bool { return s == "ro" })
		}
		if m.Destination == shmPath && o.Namespaces.IPC == modeHost {
			*m = specs.Mount{Destination: shmPath, Type: typeBind, Source: shmPath,
				Options: []string{"rbind", "nosuid", "noexec", "nodev", propPrivate}}
		}
	}
	if o.Namespaces.IPC == modeNone {
		list = slices.DeleteFunc(list, func(m specs.Mount) bool { return m.Destination == shmPath })
	}
	return list, nil
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
		{Destination: shmPath, Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", size}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs",
			Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: cgroupPath, Type: "cgroup", Source: "cgroup",
			Options: []string{"ro", "nosuid", "noexec", "nodev", "relatime"}},
	}
}

// optionalMounts come with other flags than those for mounts.
func optionalMounts(o Options) []specs.Mount {
	var out []specs.Mount
	if o.ReadOnly && o.ReadOnlyTmpfs {
		for _, d := range [][2]string{{"/run", "mode=755"}, {"/tmp", "mode=1777"}, {"/var/tmp", "mode=1777"}} {
			out = append(out, specs.Mount{Destination: d[0], Type: typeTmpfs, Source: typeTmpfs,
				Options: []string{"rw", "nosuid", "nodev", propPrivate, d[1]}})
		}
	}
	if o.ZoneFile != "" {
		out = append(out, specs.Mount{Destination: zonePath, Type: typeBind, Source: o.ZoneFile,
			Options: []string{"bind", "ro", "nosuid", "noexec", "nodev", propPrivate}})
	}
	return out
}

func userMounts(list []Mount) ([]specs.Mount, error) {
	var out []specs.Mount
	seen := map[string]bool{}
	for _, m := range list {
		if err := m.check(); err != nil {
			return nil, err
		}
		if seen[m.Target] {
			return nil, invalidf("mount on %q: given twice", m.Target)
		}
		seen[m.Target] = true
		translated, err := m.oci()
		if err != nil {
			return nil, err
		}
		out = append(out, translated)
	}
	return out, nil
}

// oci translates a mount, a volume into a bind of its directory. Read-only
// takes in the mounts beneath (rro), as docker does since version 25: a
// writable file system under a read-only one is what nobody expects.
func (m Mount) oci() (specs.Mount, error) {
	if m.Type == typeTmpfs {
		options := m.Options
		if m.ReadOnly {
			options = append([]string{"ro"}, options...)
		}
		options, err := mergeTmpfs(options)
		return specs.Mount{Destination: m.Target, Type: typeTmpfs, Source: typeTmpfs, Options: options}, err
	}
	if m.Type != typeBind && m.Type != typeVolume {
		return specs.Mount{}, invalidf("mount on %q: type %q: want bind, volume or tmpfs", m.Target, m.Type)
	}
	if !path.IsAbs(m.HostPath) {
		return specs.Mount{}, invalidf("mount on %q: source %q has no absolute path", m.Target, cmp.Or(m.HostPath, m.Source))
	}
	options := []string{"rbind"}
	if m.NonRecursive {
		options[0] = "bind"
	}
	switch {
	case m.ReadOnly && (m.ReadOnlyTop || m.NonRecursive):
		options = append(options, "ro")
	case m.ReadOnly:
		options = append(options, "rro")
	}
	options = append(options, m.Options...)
	options = append(options, cmp.Or(m.Propagation, propPrivate))
	return specs.Mount{Destination: m.Target, Type: typeBind, Source: m.HostPath, Options: options}, nil
}

// rootPropagation is "shared" where a mount made inside is to be seen outside:
// runtimes make the whole namespace a slave otherwise, and their bind mounts
// with it.
func rootPropagation(list []Mount) string {
	for _, m := range list {
		if strings.HasSuffix(m.Propagation, "shared") {
			return "shared"
		}
	}
	return ""
}
