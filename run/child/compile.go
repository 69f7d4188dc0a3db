package child

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Config is what the parent has prepared for a child.
type Config struct {
	Spec *specs.Spec
	// Overlay is mounted at the spec's root path. Nil: what is at that path is the root.
	Overlay *Overlay
	// Stdio are the parent's descriptors that become the child's standard streams.
	Stdio [3]int
	// Terminal gives the child a new terminal as its standard streams instead.
	Terminal *Terminal
	// ParentFd is a pidfd of the parent: a child that finds its parent dead does not start.
	ParentFd int
	// Beneath gives, by destination, a directory beneath which the source of a bind is looked up,
	// no link followed: a part of a volume that others may be changing.
	Beneath map[string]string
	// Ignored are the signals that this process ignores, as under nohup(1): a program inherits
	// that, and a container's does not.
	Ignored []int
	// Filter is the spec's seccomp profile, compiled; nil for none.
	Filter *Filter
	// Init is this program, to be run as the container's first process that starts the command
	// and reaps what is left of others; "" runs the command as the first process.
	Init string
	// InitReport is the end of a pipe on which the init says why the command did not start.
	InitReport int
	// Preserve is how many descriptors from 3 on the command inherits.
	Preserve int
	// Hierarchies are what a mount of type cgroup shows; empty for cgroup v2.
	Hierarchies []Hierarchy
	// Resolve gives a path of the root with the image's symbolic links followed inside it and
	// what does not exist left in place. Nil leaves paths as they are; a link met by the child
	// is refused then.
	Resolve func(string) (string, error)
	// IsDir says whether a path of the host's is a directory: a bind's source, or what is to be
	// masked, since a fresh /proc or /sys has what the host's has. RootIsDir says it of a path of
	// the root that has no links left.
	IsDir, RootIsDir func(string) bool
}

// Overlay is the root: the image's files below, this run's own changes above.
type Overlay struct {
	// Base is the directory that the other names are relative to, so that no character of its
	// path can be read as an option.
	Base               string
	Lower, Upper, Work string
	// Volatile spares the disk the upper layer's syncs: for a layer that is thrown away.
	Volatile bool
}

// Terminal is a pseudo-terminal in a devpts file system that the parent has made.
type Terminal struct {
	MountFd int // the devpts, not yet attached
	SlaveFd int
}

// Filter is a seccomp filter as seccomp(2) takes it.
type Filter struct {
	Program []byte // struct sock_filter, 8 bytes each
	Flags   uint64 // SECCOMP_FILTER_FLAG_…
}

// Hierarchy is a cgroup v1 hierarchy: the directory it shows at and its mount options.
type Hierarchy struct {
	Name    string
	Options []string
}

// compiler collects the list.
type compiler struct {
	Config
	list List
	step string
	root Slot // the directory that will be /
	err  error
	null Slot // our own /dev/null, for masks
	// network is the file of a network namespace to join.
	network string
	exe     Slot // this program, for --init
	// known are directories of the root that we hold open: mounts of our own.
	known map[string]Slot
	// mounted are the paths of the root that something has been mounted on, links resolved.
	mounted map[string]bool
	// resolved remembers what Resolve has said: it asks the file system, and most paths have the
	// same few directories.
	resolved map[string]string
	// clones are trees of the host's that were taken early, by destination.
	clones map[string]Slot
}

// Compile turns a spec into the list of calls. It opens nothing and asks the kernel nothing, so
// the same spec gives the same list anywhere.
func Compile(c Config) (*List, error) {
	k := &compiler{Config: c, list: List{Slots: []string{""}, Pass: c.Preserve}, known: map[string]Slot{}, mounted: map[string]bool{}, resolved: map[string]string{}, clones: map[string]Slot{}}
	for _, f := range []*func(string) bool{&k.IsDir, &k.RootIsDir} {
		if *f == nil {
			*f = func(string) bool { return false }
		}
	}
	if err := k.check(); err != nil {
		return nil, fmt.Errorf("compiling the spec: %w", err)
	}
	// The tutorial's line, in its order.
	for _, step := range []func(){
		k.joinNetwork,
		k.mountNamespace,
		k.initProgram,
		k.rootfs,
		k.mounts,
		k.devices,
		k.sysctls,
		k.maskedPaths,
		k.readonlyPaths,
		k.readonlyRoot,
		k.pivotRoot,
		k.hostname,
		k.loopback,
		k.cgroupNamespace,
		k.streams,
		k.closeDescriptors,
		k.workingDirectory,
		k.limits,
		k.privileges,
		k.program,
	} {
		step()
	}
	if k.err == nil && len(k.list.Slots) >= maxSlots {
		k.err = errors.New("too many mounts for one run")
	}
	if k.err != nil {
		return nil, fmt.Errorf("compiling the spec: %w", k.err)
	}
	return &k.list, nil
}

// namespaces that are made by clone; the cgroup namespace comes by unshare(2), since a child
// cloned with CLONE_NEWCGROUP would get its parent's cgroup as the namespace's root.
var cloneFlags = map[specs.LinuxNamespaceType]uintptr{
	specs.MountNamespace: syscall.CLONE_NEWNS, specs.UTSNamespace: syscall.CLONE_NEWUTS,
	specs.PIDNamespace: syscall.CLONE_NEWPID, specs.IPCNamespace: syscall.CLONE_NEWIPC,
	specs.NetworkNamespace: syscall.CLONE_NEWNET, specs.CgroupNamespace: 0,
}

// check refuses what this package cannot do: nothing that a spec asks for is dropped in silence.
func (k *compiler) check() error {
	s := k.Spec
	if s == nil || s.Process == nil || s.Root == nil || s.Linux == nil || len(s.Process.Args) == 0 {
		return errors.New("a spec needs process.args, root and linux")
	}
	for _, n := range s.Linux.Namespaces {
		flag, known := cloneFlags[n.Type]
		switch {
		case !known || n.Path != "" && n.Type != specs.NetworkNamespace:
			return fmt.Errorf("%s namespace %s: not supported", n.Type, n.Path)
		case n.Path != "":
			k.network = n.Path
		default:
			k.list.Flags |= flag
		}
	}
	if k.list.Flags&syscall.CLONE_NEWNS == 0 {
		return errors.New("a container needs its own mount namespace")
	}
	for _, u := range []struct {
		asked bool
		name  string
	}{
		{s.Linux.Seccomp != nil && k.Filter == nil, "linux.seccomp without a compiled filter"}, {s.Process.ApparmorProfile != "", "process.apparmorProfile"},
		{s.Process.SelinuxLabel != "", "process.selinuxLabel"},
		{len(s.Linux.UIDMappings) > 0, "linux.uidMappings"}, {s.Hooks != nil, "hooks"},
		{s.Process.Scheduler != nil, "process.scheduler"},
		{s.Process.IOPriority != nil, "process.ioPriority"}, {len(s.Linux.NetDevices) > 0, "linux.netDevices"},
		{s.Linux.Personality != nil, "linux.personality"}, {len(s.Linux.TimeOffsets) > 0, "linux.timeOffsets"},
		{s.Linux.IntelRdt != nil, "linux.intelRdt"}, {s.Process.ExecCPUAffinity != nil, "process.execCPUAffinity"},
	} {
		if u.asked {
			return fmt.Errorf("%s: not supported", u.name)
		}
	}
	return nil
}

func (k *compiler) has(t specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(k.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == t })
}

// begin names the step that the following calls belong to.
func (k *compiler) begin(format string, a ...any) { k.step = printable(fmt.Sprintf(format, a...)) }

// do appends a call that must succeed and returns it for amendment.
func (k *compiler) do(name string, nr uintptr, args ...Arg) *Op {
	k.list.Ops = append(k.list.Ops, Op{Step: k.step, Name: name, Nr: nr, Args: args})
	k.step = ""
	return &k.list.Ops[len(k.list.Ops)-1]
}

func (o *Op) allow(e ...syscall.Errno) *Op { o.Allow = e; return o }

// save gives a call's result a name; equal names are told apart by a number.
func (k *compiler) save(o *Op, name string) Slot {
	name = printable(name)
	unique := name
	for i := 2; slices.Contains(k.list.Slots, unique); i++ {
		unique = fmt.Sprint(name, i)
	}
	k.list.Slots = append(k.list.Slots, unique)
	o.Save = Slot(min(len(k.list.Slots)-1, maxSlots))
	return o.Save
}

func (k *compiler) slot(s Slot) Arg { return Arg{Type: argSlot, Num: uint64(s)} }

// host is a descriptor of the parent's, noted so that a re-exec'ed child inherits it.
func (k *compiler) host(n int, name string) Arg {
	if n >= 0 {
		k.list.Keep = append(k.list.Keep, n)
	}
	return fd(n, name)
}

const atFdcwd = ^uint64(99) // AT_FDCWD, -100

var (
	cwd       = named(atFdcwd, "AT_FDCWD")
	cloexec   = named(unix.O_CLOEXEC, "O_CLOEXEC")
	emptyPath = named(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH")
)

// How a path beneath the root is looked up. Before pivot_root every link has been resolved by the
// parent in a tree that cannot change, so none may be met; after it, the root is /, and only
// magic links (/proc/self/fd/…, CVE-2024-21626) are refused.
const (
	noLinks = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS
	inRoot  = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
)

// open looks a path up beneath dir; flags may ask for a directory.
func (k *compiler) open(dir Slot, name string, flags, resolve uint64) *Op {
	how := make([]byte, 24)
	binary.NativeEndian.PutUint64(how[0:], unix.O_PATH|unix.O_CLOEXEC|flags)
	binary.NativeEndian.PutUint64(how[16:], resolve)
	shown := "O_PATH"
	if flags&unix.O_DIRECTORY != 0 {
		shown += "|O_DIRECTORY"
	}
	if resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		shown += ", RESOLVE_IN_ROOT|NO_SYMLINKS"
	} else {
		shown += ", RESOLVE_IN_ROOT|NO_MAGICLINKS"
	}
	return k.do("openat2", unix.SYS_OPENAT2, k.slot(dir), text(name), data(how, "{"+shown+"}"), num(24))
}

// maxDepth is how deep in the root a path may lie: each directory on it may take a descriptor.
const maxDepth = 100

// relative gives a path of the root without its leading slash, links resolved. What lies beneath
// a mount is taken as it is written: the image's links there are hidden, and must not lead the
// mount of /dev/pts to /etc. A link in what is mounted there, the child refuses to follow.
func (k *compiler) relative(p string) string {
	p = path.Clean("/" + p)
	if k.tooDeep(p) {
		return ""
	}
	at := "/"
	for name := range strings.SplitSeq(p[1:], "/") {
		at = path.Join(at, name)
		if k.Resolve == nil || k.err != nil || k.onMount(path.Dir(at)) {
			continue
		}
		r, known := k.resolved[at]
		if !known {
			var err error
			if r, err = k.Resolve(at); err != nil {
				k.err = fmt.Errorf("%s: following the image's links to it: %w", p, err)
				return p
			}
			k.resolved[at] = r
		}
		at = path.Clean("/" + r)
	}
	if k.tooDeep(at) {
		return ""
	}
	return strings.TrimPrefix(at, "/")
}

func (k *compiler) tooDeep(p string) bool {
	n := strings.Count(p, "/")
	if n > maxDepth && k.err == nil {
		k.err = fmt.Errorf("%.40s…: %d directories deep: want at most %d", p, n, maxDepth)
	}
	return n > maxDepth
}

// onMount says whether a path is one that something has been mounted on, or lies beneath.
func (k *compiler) onMount(p string) bool {
	for ; p != "/"; p = path.Dir(p) {
		if k.mounted[p[1:]] {
			return true
		}
	}
	return false
}

// makeDirs makes the directories of a path that are missing, each inside a descriptor of its
// parent: mkdirat(2) alone would follow links on the way.
func (k *compiler) makeDirs(root Slot, rel string, resolve uint64) {
	parent := root
	names := strings.Split(rel, "/")
	for i, name := range names {
		if i > 0 {
			parent = k.directory(root, strings.Join(names[:i], "/"), resolve)
		}
		if k.known[strings.Join(names[:i+1], "/")] == 0 || root != k.root {
			k.do("mkdirat", unix.SYS_MKDIRAT, k.slot(parent), text(name), octal(0o755)).allow(syscall.EEXIST)
		}
	}
}

// directory gives a descriptor of a directory that is there.
func (k *compiler) directory(root Slot, rel string, resolve uint64) Slot {
	if s := k.known[rel]; s != 0 && root == k.root {
		return s
	}
	return k.save(k.open(root, rel, unix.O_DIRECTORY, resolve), "/"+rel)
}

// makeFile makes an empty file to mount on. mknodat(2) opens nothing, so that a fifo or device of
// the image's in its place can't stop or be touched by us.
func (k *compiler) makeFile(rel string) {
	parent := k.root
	if dir := path.Dir(rel); dir != "." {
		k.makeDirs(k.root, dir, noLinks)
		parent = k.directory(k.root, dir, noLinks)
	}
	k.do("mknodat", unix.SYS_MKNODAT, k.slot(parent), text(path.Base(rel)), named(unix.S_IFREG|0o644, "S_IFREG|0644"), num(0)).
		allow(syscall.EEXIST)
}

// mountpoint gives a descriptor to mount on, made if missing.
func (k *compiler) mountpoint(dest string, file bool) Slot {
	rel := k.relative(dest)
	if rel == "" && k.err == nil {
		k.err = fmt.Errorf("mounting on %q: the root is not a mount point", dest)
	}
	if k.err != nil {
		return k.root
	}
	flags := uint64(0)
	if file {
		k.makeFile(rel)
	} else {
		k.makeDirs(k.root, rel, noLinks)
		flags = unix.O_DIRECTORY
	}
	k.mounted[rel] = true
	return k.save(k.open(k.root, rel, flags, noLinks), "/"+rel)
}

// attach puts a detached mount in its place, both ends descriptors: nothing that changes names
// meanwhile can lead it elsewhere (CVE-2021-30465, CVE-2025-31133). Of the two, one may be a file
// where the other is a directory, which the kernel calls an invalid argument; a directory has
// been asked for where one is needed.
func (k *compiler) attach(mount Arg, at Slot) *Op {
	const both = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	o := k.do("move_mount", unix.SYS_MOVE_MOUNT, mount, text(""), k.slot(at), text(""), named(both, "EMPTY_PATHS"))
	o.Invalid = "a file can't be mounted on a directory"
	return o
}
