package child

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// options is a mount's options told apart: what the mount is given and what its file system is.
type options struct {
	kind        string // "bind", or ""
	recursive   bool   // of a bind: the mounts beneath the source too
	attrs       uint64 // MOUNT_ATTR_…
	deep        uint64 // MOUNT_ATTR_… for all mounts beneath, too
	propagation uint64 // MS_PRIVATE and its like, with MS_REC; 0 is private
	data        []string
}

var attrOptions = []struct {
	name string
	set  uint64
}{
	{"ro", unix.MOUNT_ATTR_RDONLY}, {"nosuid", unix.MOUNT_ATTR_NOSUID}, {"nodev", unix.MOUNT_ATTR_NODEV},
	{"noexec", unix.MOUNT_ATTR_NOEXEC}, {"noatime", unix.MOUNT_ATTR_NOATIME},
	{"strictatime", unix.MOUNT_ATTR_STRICTATIME}, {"nodiratime", unix.MOUNT_ATTR_NODIRATIME},
	{"nosymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW},
}

var propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC, "slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC, "unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// without meaning here: they are how a new mount is anyway.
var defaultOptions = []string{"rw", "suid", "dev", "exec", "relatime", "defaults"}

// parseOptions reads a mount's options; one it does not know belongs to the file system, except
// for a bind mount, which has none.
func parseOptions(m specs.Mount) (options, error) {
	var o options
	if m.Type == "bind" {
		o.kind = "bind"
	}
	for _, opt := range m.Options {
		switch attr, deep := attribute(opt); {
		case attr != 0 && deep:
			o.deep |= attr
		case attr != 0:
			o.attrs |= attr
		case propagations[opt] != 0:
			o.propagation = propagations[opt]
		case slices.Contains(defaultOptions, opt):
		case opt == "bind":
			o.kind = "bind"
		case opt == "rbind":
			o.kind, o.recursive = "bind", true
		default:
			o.data = append(o.data, opt)
		}
	}
	if o.kind == "bind" && len(o.data) > 0 {
		return o, fmt.Errorf("mounting %s: option %q is not supported for a bind mount", m.Destination, o.data[0])
	}
	return o, nil
}

// attribute gives the attribute that an option sets, and whether on all mounts beneath (rro).
func attribute(opt string) (attr uint64, deep bool) {
	for _, a := range attrOptions {
		switch opt {
		case a.name:
			return a.set, false
		case "r" + a.name:
			return a.set, true
		}
	}
	return 0, false
}

func (o options) shown() string { return attrNames(o.attrs) }

func attrNames(attrs uint64) string {
	var names []string
	for _, a := range attrOptions {
		if attrs&a.set != 0 {
			names = append(names, strings.ToUpper(a.name))
		}
	}
	if len(names) == 0 {
		return "0"
	}
	return strings.Join(names, "|")
}
