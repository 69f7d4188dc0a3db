package child

import (
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// options is a mount's options told apart: what the mount is given and what its file system is.
type options struct {
	kind      string // "bind", or ""
	recursive bool
	attrs     uint64 // MOUNT_ATTR_…
	data      []string
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

// without meaning here: they are how a new mount is anyway.
var defaultOptions = []string{"rw", "suid", "dev", "exec", "relatime", "rprivate", "private", "defaults"}

// parseOptions reads a mount's options; one it does not know belongs to the file system, except
// for a bind mount, which has none.
func parseOptions(m specs.Mount) (options, error) {
	var o options
	if m.Type == "bind" {
		o.kind = "bind"
	}
next:
	for _, opt := range m.Options {
		for _, a := range attrOptions {
			if opt == a.name {
				o.attrs |= a.set
				continue next
			}
		}
		for _, d := range defaultOptions {
			if opt == d {
				continue next
			}
		}
		switch opt {
		case "bind":
			o.kind = "bind"
		case "rbind":
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

func (o options) shown() string {
	var names []string
	for _, a := range attrOptions {
		if o.attrs&a.set != 0 {
			names = append(names, strings.ToUpper(a.name))
		}
	}
	if len(names) == 0 {
		return "0"
	}
	return strings.Join(names, "|")
}
