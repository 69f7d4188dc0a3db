package child

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountNamespace keeps what happens in the new mount namespace from reaching the host's.
func (k *compiler) mountNamespace() {
	k.begin("make files with the modes we say")
	k.do("umask", unix.SYS_UMASK, num(0))
	k.sharedBinds()
	k.begin("keep our mounts from reaching the host")
	k.do("mount", unix.SYS_MOUNT, null, text("/"), null, named(unix.MS_REC|unix.MS_SLAVE, "MS_REC|MS_SLAVE"), null)
}

// rootfs mounts the tree that will be /. No device node that came in an image works there
// (nodev): the child's devices are in a /dev of our own.
func (k *compiler) rootfs() {
	o := k.Overlay
	where := k.Spec.Root.Path
	if o == nil {
		k.begin("take the directory as the root")
		const how = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE
		k.root = k.save(k.do("open_tree", unix.SYS_OPEN_TREE, cwd, text(where), named(how, "CLONE|AT_RECURSIVE")), "root")
		k.setAttr(k.slot(k.root), unix.MOUNT_ATTR_NODEV, unix.MS_PRIVATE, 0)
	} else {
		k.begin("the image's files, and a layer for our own")
		// A descriptor of the parent's would lead into the parent's mount namespace, where the
		// overlay may not take its layers from; these paths are the cache's, not the image's.
		k.do("chdir", unix.SYS_CHDIR, text(o.Base))
		params := []string{"lowerdir=" + o.Lower, "upperdir=" + o.Upper, "workdir=" + o.Work}
		if o.Volatile {
			params = append(params, "volatile")
		}
		k.root = k.newFS("overlay", "root", params, unix.MOUNT_ATTR_NODEV, "NODEV")
	}
	k.do("move_mount", unix.SYS_MOVE_MOUNT, k.slot(k.root), text(""), cwd, text(where), named(unix.MOVE_MOUNT_F_EMPTY_PATH, "F_EMPTY_PATH"))
}

// newFS makes a new file system, not yet visible anywhere, and returns its descriptor.
func (k *compiler) newFS(fstype, name string, params []string, attrs uint64, shown string) Slot {
	fs := k.save(k.do("fsopen", unix.SYS_FSOPEN, text(fstype), named(unix.FSOPEN_CLOEXEC, "CLOEXEC")), "fs")
	if !slices.ContainsFunc(params, func(p string) bool { return strings.HasPrefix(p, "source=") }) {
		params = append([]string{"source=" + fstype}, params...)
	}
	for _, p := range params {
		key, value, pair := strings.Cut(p, "=")
		if pair {
			k.do("fsconfig", unix.SYS_FSCONFIG, k.slot(fs), named(unix.FSCONFIG_SET_STRING, "SET_STRING"), text(key), text(value), num(0))
		} else {
			k.do("fsconfig", unix.SYS_FSCONFIG, k.slot(fs), named(unix.FSCONFIG_SET_FLAG, "SET_FLAG"), text(key), null, num(0))
		}
	}
	k.do("fsconfig", unix.SYS_FSCONFIG, k.slot(fs), named(unix.FSCONFIG_CMD_CREATE, "CMD_CREATE"), null, null, num(0))
	return k.save(k.do("fsmount", unix.SYS_FSMOUNT, k.slot(fs), named(unix.FSMOUNT_CLOEXEC, "CLOEXEC"), named(attrs, shown)), name)
}

// setAttr sets mount attributes and propagation by descriptor; recursive is AT_RECURSIVE or 0.
func (k *compiler) setAttr(mount Arg, attrs, propagation, recursive uint64) {
	attr := make([]byte, 32) // struct mount_attr, MOUNT_ATTR_SIZE_VER0: set, clear, propagation, userns
	binary.NativeEndian.PutUint64(attr, attrs)
	binary.NativeEndian.PutUint64(attr[16:], propagation&^unix.MS_REC)
	shown := attrNames(attrs)
	for name, p := range propagations {
		if p == propagation&^unix.MS_REC {
			shown = strings.TrimPrefix(strings.TrimPrefix(shown+"|", "0|")+strings.ToUpper(name), "|")
		}
	}
	how := emptyPath
	if recursive != 0 {
		how = named(unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, "AT_EMPTY_PATH|AT_RECURSIVE")
	}
	k.do("mount_setattr", unix.SYS_MOUNT_SETATTR, mount, text(""), how, data(attr, "{"+shown+"}"), num(uint64(len(attr))))
}

var mountWords = map[string]string{
	"proc": "a fresh /proc, of our own processes", "tmpfs": "an empty file system in memory",
	"devpts": "terminals of our own", "mqueue": "message queues of our own", "sysfs": "the kernel's objects, to look at only",
	"cgroup": "our own cgroup, to look at only", "bind": "a file or directory of the host's",
}

// mounts makes the spec's mounts in order.
func (k *compiler) mounts() {
	for _, m := range k.Spec.Mounts {
		o, err := parseOptions(m)
		if err != nil {
			k.err = err
			return
		}
		k.begin("%s: %s", m.Destination, mountWords[cmpOr(o.kind, m.Type)])
		switch {
		case o.kind == "bind":
			k.bind(m, o)
		case m.Type == "cgroup":
			k.cgroupMount(m, o)
		case m.Type == "devpts" && k.Terminal != nil && m.Destination == "/dev/pts":
			k.attach(k.host(k.Terminal.MountFd, "devpts"), k.mountpoint(m.Destination, false))
		case slices.Contains([]string{"proc", "tmpfs", "devpts", "mqueue", "sysfs"}, m.Type):
			// A new file system is looked up in no path, and /proc is known to be one (CVE-2025-52881).
			params := append([]string{"source=" + cmpOr(m.Source, m.Type)}, o.data...)
			k.place(k.newFS(m.Type, m.Type, params, o.attrs, o.shown()), m.Destination)
			k.mustBePlain(m)
		default:
			k.err = fmt.Errorf("mounting %s: type %q is not supported", m.Destination, m.Type)
		}
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// bind shows a part of the host's tree inside. The source is looked up in the child, before the
// host's tree goes away, by the path that the user gave.
func (k *compiler) bind(m specs.Mount, o options) {
	tree, cloned := k.clones[m.Destination]
	if !cloned {
		tree = k.cloneTree(m, o)
	}
	if o.deep != 0 {
		k.setAttr(k.slot(tree), o.deep, 0, unix.AT_RECURSIVE)
	}
	if o.attrs != 0 {
		k.setAttr(k.slot(tree), o.attrs, 0, 0)
	}
	switch {
	case o.propagation == 0: // what the host mounts there later does not appear inside
		k.setAttr(k.slot(tree), 0, unix.MS_PRIVATE, unix.AT_RECURSIVE)
	case o.propagation&unix.MS_REC != 0:
		k.setAttr(k.slot(tree), 0, o.propagation, unix.AT_RECURSIVE)
	default:
		k.setAttr(k.slot(tree), 0, o.propagation, 0)
	}
	k.attach(k.slot(tree), k.mountpoint(m.Destination, !k.IsDir(m.Source)))
}

func (k *compiler) cloneTree(m specs.Mount, o options) Slot {
	how, shown := uint64(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC), "CLONE"
	if o.recursive {
		how, shown = how|unix.AT_RECURSIVE, "CLONE|AT_RECURSIVE"
	}
	base, part := k.Beneath[m.Destination]
	if !part {
		return k.save(k.do("open_tree", unix.SYS_OPEN_TREE, cwd, text(m.Source), named(how, shown)), "bind")
	}
	dir := k.save(k.do("openat", unix.SYS_OPENAT, cwd, text(base), named(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, "O_PATH|O_DIRECTORY|O_CLOEXEC"), num(0)), "volume")
	in := k.save(k.open(dir, strings.TrimPrefix(m.Source, base+"/"), 0, noLinks), "part")
	return k.save(k.do("open_tree", unix.SYS_OPEN_TREE, k.slot(in), text(""), named(how|unix.AT_EMPTY_PATH, shown+"|AT_EMPTY_PATH")), "bind")
}

// initProgram takes this program along for --init: by a mount of its own, read-only and attached
// nowhere, through which nobody inside can write to it (CVE-2019-5736).
func (k *compiler) initProgram() {
	if k.Init == "" {
		return
	}
	k.begin("take an init along, read-only")
	const how = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	k.exe = k.save(k.do("open_tree", unix.SYS_OPEN_TREE, cwd, text(k.Init), named(how, "CLONE")), "init")
	k.setAttr(k.slot(k.exe), unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, 0, 0)
}

// sharedBinds takes those trees that are to stay in touch with the host's, before the rest of the
// host's mounts is cut off from ours.
func (k *compiler) sharedBinds() {
	for _, m := range k.Spec.Mounts {
		o, err := parseOptions(m)
		if err == nil && o.kind == "bind" && o.propagation&unix.MS_SHARED != 0 {
			k.begin("%s: mounts made here reach the host, as asked", m.Destination)
			k.clones[m.Destination] = k.cloneTree(m, o)
		}
	}
}

// place attaches a new file system, whose own descriptor then stands for the directory.
func (k *compiler) place(mount Slot, dest string) {
	k.attach(k.slot(mount), k.mountpoint(dest, false))
	k.known[k.relative(dest)] = mount
}

// mustBePlain refuses an image whose /proc, /sys or /dev is a link to somewhere else inside: what
// is to be hidden, or made, in one of them would be looked for where it is not (CVE-2026-41579).
func (k *compiler) mustBePlain(m specs.Mount) {
	dest, rel := path.Clean(m.Destination), "/"+k.relative(m.Destination)
	if k.err == nil && rel != dest && (m.Type == "proc" || m.Type == "sysfs" || dest == "/dev") {
		k.err = fmt.Errorf("the image's %s is a symbolic link, to its %s: it must be a directory", dest, rel)
	}
}

// cgroupMount shows the cgroup tree from our own group down: one file system on v2, on v1 a
// directory with one for each hierarchy.
func (k *compiler) cgroupMount(m specs.Mount, o options) {
	k.unshareCgroup()
	if len(k.Hierarchies) == 0 {
		k.place(k.newFS("cgroup2", "cgroup", nil, o.attrs, o.shown()), m.Destination)
		return
	}
	tmpfs := k.newFS("tmpfs", "cgroup", []string{"mode=755", "size=64k"}, o.attrs&^unix.MOUNT_ATTR_RDONLY, "NOSUID|NODEV|NOEXEC")
	k.place(tmpfs, m.Destination)
	for _, h := range k.Hierarchies {
		k.do("mkdirat", unix.SYS_MKDIRAT, k.slot(tmpfs), text(h.Name), octal(0o755))
		at := k.save(k.open(tmpfs, h.Name, 0, noLinks), m.Destination+"/"+h.Name)
		k.attach(k.slot(k.newFS("cgroup", h.Name, h.Options, o.attrs, o.shown())), at)
	}
	if o.attrs&unix.MOUNT_ATTR_RDONLY != 0 {
		k.setAttr(k.slot(tmpfs), unix.MOUNT_ATTR_RDONLY, 0, 0)
	}
}

// devices fills /dev.
func (k *compiler) devices() {
	if !slices.ContainsFunc(k.Spec.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev" && m.Type == "tmpfs" }) {
		return
	}
	k.begin("/dev: a few devices that harm nobody")
	dev := k.known["dev"]
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		k.do("mknodat", unix.SYS_MKNODAT, k.slot(dev), text(d.name), named(unix.S_IFCHR|0o666, "S_IFCHR|0666"), named(unix.Mkdev(d.major, d.minor), fmt.Sprintf("%d:%d", d.major, d.minor)))
	}
	for _, l := range [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"}} {
		k.do("symlinkat", unix.SYS_SYMLINKAT, text(l[0]), k.slot(dev), text(l[1]))
	}
	k.null = k.save(k.open(dev, "null", 0, noLinks), "null")
	k.moreDevices()
	if k.Terminal != nil {
		k.begin("/dev/console: the terminal")
		k.do("mknodat", unix.SYS_MKNODAT, k.slot(dev), text("console"), named(unix.S_IFREG|0o600, "S_IFREG|0600"), num(0))
		tree := k.save(k.do("open_tree", unix.SYS_OPEN_TREE, k.host(k.Terminal.SlaveFd, "terminal"), text(""), named(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH, "CLONE|AT_EMPTY_PATH")), "console")
		k.attach(k.slot(tree), k.save(k.open(dev, "console", 0, noLinks), "/dev/console"))
	}
}

// moreDevices makes those that the user asked for.
func (k *compiler) moreDevices() {
	types := map[string]uint64{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}
	for _, d := range k.Spec.Linux.Devices {
		typ, known := types[d.Type]
		rel := k.relative(d.Path)
		if !known || !strings.HasPrefix(rel, "dev/") {
			k.err = fmt.Errorf("device %s of type %q: only devices in /dev are supported", d.Path, d.Type)
			return
		}
		if slices.Contains(defaultDevices, d.Path) {
			continue
		}
		k.begin("%s: a device of the host's, as asked", d.Path)
		dir := k.root
		if parent := path.Dir(rel); parent != "." {
			k.makeDirs(k.root, parent, noLinks)
			dir = k.directory(k.root, parent, noLinks)
		}
		mode := uint64(0o666)
		if d.FileMode != nil {
			mode = uint64(d.FileMode.Perm())
		}
		at, name := k.slot(dir), text(path.Base(rel))
		k.do("mknodat", unix.SYS_MKNODAT, at, name, octal(typ|mode), named(unix.Mkdev(uint32(d.Major), uint32(d.Minor)), fmt.Sprintf("%d:%d", d.Major, d.Minor)))
		if d.UID != nil || d.GID != nil {
			k.do("fchownat", unix.SYS_FCHOWNAT, at, name, num(uint64(deref(d.UID))), num(uint64(deref(d.GID))), num(unix.AT_SYMLINK_NOFOLLOW))
		}
	}
}

func deref(id *uint32) uint32 {
	if id == nil {
		return 0
	}
	return *id
}

// defaultDevices are made for every container.
var defaultDevices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/ptmx"}

// sysctls sets switches of our namespaces in the /proc that we have just mounted, before it
// becomes read-only; a path in it can't lead anywhere else (CVE-2025-52881).
func (k *compiler) sysctls() {
	proc := k.known["proc"]
	for _, name := range slices.Sorted(maps.Keys(k.Spec.Linux.Sysctl)) {
		if proc == 0 {
			k.err = fmt.Errorf("sysctl %s: it takes a /proc of our own", name)
			return
		}
		k.begin("set %s", name)
		how := make([]byte, 24)
		binary.NativeEndian.PutUint64(how[0:], unix.O_WRONLY|unix.O_CLOEXEC)
		binary.NativeEndian.PutUint64(how[16:], noLinks|unix.RESOLVE_NO_XDEV)
		file := "sys/" + strings.ReplaceAll(name, ".", "/")
		f := k.save(k.do("openat2", unix.SYS_OPENAT2, k.slot(proc), text(file), data(how, "{O_WRONLY, RESOLVE_IN_ROOT|NO_SYMLINKS|NO_XDEV}"), num(24)), "sysctl")
		v := k.Spec.Linux.Sysctl[name]
		k.do("write", unix.SYS_WRITE, k.slot(f), text(v), num(uint64(len(v))))
	}
}

// maskedPaths hides files of /proc and /sys behind our own /dev/null, whose number we chose
// ourselves a moment ago, and directories behind an empty, read-only one.
func (k *compiler) maskedPaths() {
	k.begin("hide what tells too much of the host")
	for _, p := range k.Spec.Linux.MaskedPaths {
		rel := k.relative(p)
		isDir := k.IsDir
		if !k.onMount("/" + rel) {
			k.begin("hide %s, as asked", p)
			isDir = k.RootIsDir
		}
		at := k.save(k.open(k.root, rel, 0, noLinks).allow(syscall.ENOENT, syscall.ENOTDIR), p)
		if isDir("/" + rel) {
			const attrs = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
			k.attach(k.slot(k.newFS("tmpfs", "empty", []string{"mode=755"}, attrs, "RDONLY|NOSUID|NODEV|NOEXEC")), at)
			continue
		}
		if k.null == 0 { // a /dev of the user's: the host's own null does, as long as we can see it
			flags := named(unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, "O_PATH|O_NOFOLLOW|O_CLOEXEC")
			k.null = k.save(k.do("openat", unix.SYS_OPENAT, cwd, text("/dev/null"), flags, num(0)), "null")
		}
		tree := k.save(k.do("open_tree", unix.SYS_OPEN_TREE, k.slot(k.null), text(""), named(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH, "CLONE|AT_EMPTY_PATH")), "mask")
		k.attach(k.slot(tree), at)
	}
}

// readonlyPaths takes the write permission from switches of the kernel's.
func (k *compiler) readonlyPaths() {
	k.begin("take write access to the kernel's switches")
	for _, p := range k.Spec.Linux.ReadonlyPaths {
		at := k.save(k.open(k.root, k.relative(p), 0, noLinks).allow(syscall.ENOENT, syscall.ENOTDIR), p)
		tree := k.save(k.do("open_tree", unix.SYS_OPEN_TREE, k.slot(at), text(""), named(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, "CLONE|AT_EMPTY_PATH|AT_RECURSIVE")), "ro")
		k.setAttr(k.slot(tree), unix.MOUNT_ATTR_RDONLY, 0, unix.AT_RECURSIVE)
		k.attach(k.slot(tree), at)
	}
}

func (k *compiler) readonlyRoot() {
	if !k.Spec.Root.Readonly {
		return
	}
	k.begin("make the root read-only")
	k.setAttr(k.slot(k.root), unix.MOUNT_ATTR_RDONLY, 0, 0)
}

// pivotRoot makes the tree the root and lets go of the host's. Unlike chroot(2) there is nothing
// above it to climb to. pivot_root(".", ".") stacks the old root on the new: pivot_root(2), NOTES.
func (k *compiler) pivotRoot() {
	k.begin("make it the root: chroot, done right")
	k.do("fchdir", unix.SYS_FCHDIR, k.slot(k.root))
	k.do("pivot_root", unix.SYS_PIVOT_ROOT, text("."), text("."))
	k.do("umount2", unix.SYS_UMOUNT2, text("."), named(unix.MNT_DETACH, "MNT_DETACH"))
	k.do("chdir", unix.SYS_CHDIR, text("/"))
}
