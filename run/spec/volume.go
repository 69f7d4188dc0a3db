package spec

import (
	"path"
	"slices"
	"strings"
)

// The types of [Mount].
const (
	typeBind   = "bind"
	typeVolume = "volume"
	typeTmpfs  = "tmpfs"
)

// Mount is what a --volume, --mount or --tmpfs asks for.
type Mount struct {
	Type   string // "bind", "volume" or "tmpfs"
	Target string // where, inside: absolute and clean
	// Source is a bind's path as it was written, perhaps relative (./src); or
	// a volume's name, "" for an anonymous one.
	Source string
	// HostPath is what [New] binds: the absolute path on this machine of a
	// bind's source, or of a volume's data with Subpath followed safely. The
	// caller looks it up, or makes it, and fills it in.
	HostPath string

	ReadOnly     bool
	ReadOnlyTop  bool // with ReadOnly: what is mounted beneath the source stays writable
	NonRecursive bool // what is mounted beneath the source does not come along
	Propagation  string
	Options      []string // of tmpfs; of others noexec, nosuid and nodev

	CreateSource bool   // a directory is made if there is no source: -v does, --mount does not
	NoCopy       bool   // a new volume is not filled with what the image has at Target
	Chown        bool   // the source is given to the user that runs inside
	Subpath      string // of a volume: relative, without ".."
}

// ParseVolume reads -v [SOURCE:]DESTINATION[:OPTIONS]. As docker has it, a
// source which begins with a slash or a dot is a path, and another one names a
// volume; a destination alone asks for an anonymous volume.
func ParseVolume(s string) (Mount, error) {
	parts := strings.Split(s, ":")
	m := Mount{Type: typeVolume}
	switch len(parts) {
	case 1:
		m.Target = parts[0]
	case 2, 3:
		m.Source, m.Target = parts[0], parts[1]
	}
	if len(parts) > 3 || m.Target == "" || len(parts) > 1 && m.Source == "" || hasNUL(s) {
		return Mount{}, invalidf("volume %q: want [SOURCE:]DESTINATION[:OPTIONS], as in ./src:/src:ro", s)
	}
	if len(parts) == 2 && isVolumeOption(m.Target) {
		return Mount{}, invalidf("volume %q: options without a source; want SOURCE:DESTINATION:OPTIONS", s)
	}
	if strings.HasPrefix(m.Source, "/") || strings.HasPrefix(m.Source, ".") {
		m.Type, m.CreateSource = typeBind, true
	}
	if len(parts) == 3 {
		if err := m.addOptions(parts[2]); err != nil {
			return Mount{}, invalidf("volume %q: %v", s, err)
		}
	}
	if err := m.check(); err != nil {
		return Mount{}, invalidf("volume %q: %v", s, err)
	}
	return m, nil
}

func isVolumeOption(s string) bool {
	var m Mount
	_, err := m.addOption(strings.Split(s, ",")[0])
	return err == nil
}

// addOptions reads the part of -v behind the second colon. Of each kind one
// option may be there, so that nothing depends on their order.
func (m *Mount) addOptions(list string) error {
	seen := map[string]bool{}
	for opt := range strings.SplitSeq(list, ",") {
		kind, err := m.addOption(opt)
		if err != nil {
			return err
		}
		if seen[kind] {
			return invalidf("option %q: another one of its kind is there already", opt)
		}
		seen[kind] = true
	}
	return nil
}

func (m *Mount) addOption(opt string) (kind string, err error) {
	switch opt {
	case "ro", "rw":
		m.ReadOnly = opt == "ro"
		return "access", nil
	case "rro": // read-only is recursive anyway; podman has a word for it
		m.ReadOnly = true
		return "access", nil
	case "nocopy", "copy":
		m.NoCopy = opt == "nocopy"
		return "copy", nil
	case "U":
		m.Chown = true
		return "U", nil
	case "noexec", "nosuid", "nodev":
		m.Options = append(m.Options, opt)
		return opt, nil
	case "exec", "suid", "dev": // how a bind is anyway
		return "no" + opt, nil
	case "rbind", "bind":
		m.NonRecursive = opt == "bind"
		return "bind", nil
	case "consistent", "cached", "delegated":
		// What Docker Desktop may leave undone; everything is consistent here.
		return "consistency", nil
	case "z", "Z":
		return "", invalidf("option %q is not supported: umiak sets no SELinux labels; leave it out", opt)
	case "O", "idmap":
		return "", invalidf("option %q is not supported", opt)
	}
	if strings.HasPrefix(opt, "idmap=") {
		return "", invalidf("option %q is not supported", opt)
	}
	if isPropagation(opt) {
		m.Propagation = opt
		return "propagation", nil
	}
	return "", invalidf("option %q: unknown; want ro, rw, nocopy, U, noexec, nosuid, nodev, or private, slave, shared, rprivate, rslave, rshared", opt)
}

func isPropagation(s string) bool {
	return slices.Contains([]string{"private", "rprivate", "slave", "rslave", "shared", "rshared"}, s)
}

// check holds for a mount from any of the flags; it cleans the target.
func (m *Mount) check() error {
	if !path.IsAbs(m.Target) || hasNUL(m.Target) {
		return invalidf("destination %q: want an absolute path", m.Target)
	}
	if m.Target = path.Clean(m.Target); m.Target == "/" {
		return invalidf("destination %q: it would hide the root", m.Target)
	}
	switch m.Type {
	case typeBind:
		return m.checkBind()
	case typeVolume:
		return m.checkVolume()
	}
	return nil
}

func (m *Mount) checkBind() error {
	switch {
	case m.Source == "":
		return invalidf("source: missing")
	case hasNUL(m.Source), m.Source[0] != '/' && m.Source[0] != '.':
		return invalidf("source %q: want a path that begins with / or ./", m.Source)
	case m.NoCopy || m.Subpath != "":
		return invalidf("nocopy and subpath are for volumes, not for paths of the host")
	}
	return nil
}

func (m *Mount) checkVolume() error {
	switch {
	case m.Source != "" && !isVolumeName(m.Source):
		return invalidf("source %q: neither a volume's name (letters, digits, '_', '.' and '-', two at least) nor a path that begins with / or ./", m.Source)
	case m.Propagation != "" || m.NonRecursive:
		return invalidf("propagation and bind are for paths of the host, not for volumes")
	case m.Source == "" && m.ReadOnly:
		return invalidf("an anonymous volume can't be read-only: nothing would ever be in it")
	case m.Source == "" && m.Subpath != "":
		return invalidf("an anonymous volume has no subpath")
	case m.Subpath != "" && !isLocal(m.Subpath):
		return invalidf("subpath %q: want a relative path without ..", m.Subpath)
	}
	return nil
}

// isVolumeName has docker's rule. The name becomes a directory's, so that a
// slash in it would be an escape.
func isVolumeName(s string) bool {
	return len(s) >= 2 && len(s) <= 255 && isAlnum(s[0]) &&
		all(s, func(c byte) bool { return isAlnum(c) || c == '_' || c == '.' || c == '-' })
}

func isLocal(s string) bool {
	return s != "" && !path.IsAbs(s) && !hasNUL(s) && !slices.Contains(strings.Split(s, "/"), "..")
}
