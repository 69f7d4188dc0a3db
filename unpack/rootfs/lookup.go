package rootfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one look-up may follow: path_resolution(7)'s figure.
const maxLinks = 40

// noLinks makes a look-up fail with ELOOP if a link is on the way. It is a bit that no flag of open(2) has.
const noLinks = 1 << 30

// lookup opens with O_PATH what name means beneath root, all links followed, never leaving root. flags may hold O_DIRECTORY and noLinks.
type lookup func(root int, name string, flags int) (int, error)

// kernelOrWalker tries openat2 once. Container engines' seccomp profiles answer EPERM, old ones and kernels before 5.6 ENOSYS.
// The walker is not a weaker stand-in that an attacker could force upon us: it gives the same promise, only slower.
func kernelOrWalker(root int) lookup {
	fd, err := byKernel(root, ".", unix.O_DIRECTORY)
	if err == unix.ENOSYS || err == unix.EPERM {
		return byWalker
	}
	if err == nil {
		unix.Close(fd)
	}
	return byKernel
}

func byKernel(root int, name string, flags int) (int, error) {
	if name == "" {
		name = "."
	}
	how := unix.OpenHow{
		Flags:   uint64(unix.O_PATH | unix.O_CLOEXEC | flags&^noLinks),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&noLinks != 0 {
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	// openat2(2): EAGAIN when a rename somewhere in the system made it unsure whether ".." left the root. Somebody who
	// renames all the time could keep us here, the walker needs no such luck.
	for range 32 {
		fd, err := unix.Openat2(root, name, &how)
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
	return byWalker(root, name, flags)
}

func byWalker(root int, name string, flags int) (int, error) {
	w := newWalk(root, name)
	defer w.close()
	if flags&noLinks != 0 {
		w.links = maxLinks
	}
	if err := w.run(); err != nil {
		return -1, err
	}
	top := w.top()
	if flags&unix.O_DIRECTORY != 0 && !top.dir {
		return -1, unix.ENOTDIR
	}
	// Not "." : the search permission of the directory itself is not needed to hold it, as with openat2.
	return unix.FcntlInt(uintptr(top.fd), unix.F_DUPFD_CLOEXEC, 0)
}

// walk resolves a name component by component. It holds every directory between the root and where it is, so that ".." is
// a step back on its own stack: the kernel's ".." of a directory that was moved meanwhile would lead out of the root.
type walk struct {
	stack []step
	rest  []string // components to come, last first
	links int
}

type step struct {
	fd   int
	name string
	dir  bool
}

func newWalk(root int, name string) *walk {
	w := &walk{stack: []step{{fd: root, dir: true}}}
	w.push(name)
	return w
}

func (w *walk) top() step { return w.stack[len(w.stack)-1] }

func (w *walk) push(name string) {
	parts := strings.Split(name, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		w.rest = append(w.rest, parts[i])
	}
}

func (w *walk) run() error {
	for len(w.rest) > 0 {
		part := w.rest[len(w.rest)-1]
		if err := w.step(part); err != nil {
			return err
		}
	}
	return nil
}

// step takes one component off rest. On an error the component is still there, which is what runLexically goes on from.
func (w *walk) step(part string) error {
	if !w.top().dir {
		return unix.ENOTDIR
	}
	n := len(w.rest) - 1
	switch part {
	case "", ".":
		w.rest = w.rest[:n]
		return nil
	case "..":
		w.rest = w.rest[:n]
		w.cut(max(1, len(w.stack)-1))
		return nil
	}
	fd, err := openat(w.top().fd, part, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		defer unix.Close(fd)
		return w.follow(fd, n)
	}
	w.rest = w.rest[:n]
	w.stack = append(w.stack, step{fd, part, st.Mode&unix.S_IFMT == unix.S_IFDIR})
	return nil
}

// follow replaces the component at rest[n] by what the link says.
func (w *walk) follow(link, n int) error {
	w.links++
	if w.links > maxLinks {
		return unix.ELOOP
	}
	var fs unix.Statfs_t
	// The links of procfs may lead anywhere whatever they read as (/proc/1/root). Which are the harmless ones cannot be seen from
	// here, so all are refused; RESOLVE_NO_MAGICLINKS is finer. No image tree has procfs mounted while we work on it.
	if err := unix.Fstatfs(link, &fs); err != nil || fs.Type == unix.PROC_SUPER_MAGIC {
		return unix.ELOOP
	}
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(link, "", buf)
	if err != nil {
		return err
	}
	target := string(buf[:size])
	w.rest = w.rest[:n]
	if strings.HasPrefix(target, "/") {
		w.cut(1)
	}
	w.push(target)
	return nil
}

// runLexically finishes a walk that met something missing: there are no links left to follow.
func (w *walk) runLexically() {
	for len(w.rest) > 0 {
		n := len(w.rest) - 1
		part := w.rest[n]
		w.rest = w.rest[:n]
		switch part {
		case "", ".":
		case "..":
			w.cut(max(1, len(w.stack)-1))
		default:
			w.stack = append(w.stack, step{fd: -1, name: part, dir: true})
		}
	}
}

func (w *walk) path() string {
	if len(w.stack) == 1 {
		return "/"
	}
	var b strings.Builder
	for _, s := range w.stack[1:] {
		b.WriteByte('/')
		b.WriteString(s.name)
	}
	return b.String()
}

// cut shortens the stack. The root at its bottom is the Dir's.
func (w *walk) cut(size int) {
	for _, s := range w.stack[size:] {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
	}
	w.stack = w.stack[:size]
}

func (w *walk) close() { w.cut(1) }

// openat retries the interruptions that Go's own signals cause on slow file systems.
func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
