package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories above one another are walked: one descriptor
// each. What unpack makes has at most 512.
const maxDepth = 1024

// plainXattr is how long a value may be to be written out.
const plainXattr = 64

// A visitor is shown every name, in the manifest's order.
type visitor func(*entry) error

type inode struct{ dev, ino uint64 }

type walker struct {
	ctx     context.Context
	visit   visitor
	dev     uint64
	links   map[inode]*entry // files with more than one name, by their first
	buf     []byte
	readers readers
	pending []*entry // those not visited yet, since one before them is still being read
}

func walk(ctx context.Context, root *os.File, visit visitor) error {
	conn, err := root.SyscallConn()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &walker{ctx: ctx, visit: visit, links: make(map[inode]*entry), buf: make([]byte, bufSize)}
	w.readers.start(ctx)
	// Control and not Fd: the latter would switch the caller's descriptor to
	// blocking mode.
	cerr := conn.Control(func(fd uintptr) { err = w.root(int(fd)) })
	if err = errors.Join(cerr, err); err != nil {
		cancel()
	}
	w.readers.stop()
	cancel()
	return err
}

func (w *walker) root(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail("/", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fail("/", unix.ENOTDIR)
	}
	w.dev = uint64(st.Dev)
	if err := w.directory(fd, ".", "/", 0); err != nil {
		return err
	}
	return w.flush(0)
}

// maxPending is how many names may wait for one that is being read.
const maxPending = 1024

// found puts e in line.
func (w *walker) found(e *entry) error {
	w.pending = append(w.pending, e)
	return w.flush(maxPending)
}

// flush visits what can be visited, and waits until no more than n are left.
func (w *walker) flush(n int) error {
	for i, e := range w.pending {
		if !e.content.ready() && len(w.pending)-i > n {
			<-e.content.done
		}
		if !e.content.ready() {
			if i == 0 {
				return nil
			}
			w.pending = append(w.pending[:0], w.pending[i:]...)
			return nil
		}
		if c := e.content; c != nil {
			if c.err != nil {
				return fail(e.path, c.err)
			}
			e.sum = c.sum
		}
		if err := w.visit(e); err != nil {
			return err
		}
	}
	w.pending = w.pending[:0]
	return nil
}

// fail names the file; a path may hold anything, escape sequences included.
func fail(path string, err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return &fs.PathError{Op: "looking at", Path: Quote(path), Err: err}
	}
	return err
}

// open opens a name itself, whatever the name has become since it was looked at:
// O_NONBLOCK keeps a fifo from holding us up.
func open(parent int, name string, flags int) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := openat(parent, name, flags|unix.O_NOATIME)
	if err == unix.EPERM { // who isn't the owner must leave a trace (open(2))
		fd, err = openat(parent, name, flags)
	}
	if err != nil {
		return -1, st, err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// openat retries the interruptions that Go's own signals cause on slow file systems.
func openat(parent int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(parent, name, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (w *walker) directory(parent int, name, path string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("looking at %s: it is more than %d directories deep", Quote(path), maxDepth)
	}
	fd, st, err := open(parent, name, unix.O_DIRECTORY)
	if err != nil {
		return fail(path, err)
	}
	defer unix.Close(fd)
	if uint64(st.Dev) != w.dev {
		return fmt.Errorf("looking at %s: something is mounted there", Quote(path))
	}
	e := common(path, &st)
	if e.xattrs, err = w.xattrs(fd, unix.Flistxattr, unix.Fgetxattr); err != nil {
		return fail(path, err)
	}
	if err := w.found(e); err != nil {
		return err
	}
	names, err := w.list(fd)
	if err != nil {
		return fail(path, err)
	}
	if path != "/" {
		path += "/"
	}
	for _, name := range names {
		if err := w.name(fd, name, path+name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) list(fd int) ([]string, error) {
	var names []string
	for {
		n, err := unix.ReadDirent(fd, w.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			slices.Sort(names)
			return names, nil
		}
		_, _, names = unix.ParseDirent(w.buf[:n], -1, names)
	}
}

func (w *walker) name(parent int, name, path string, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return context.Cause(w.ctx)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail(path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return w.directory(parent, name, path, depth)
	}
	e, err := w.describe(parent, name, path, &st)
	if err != nil {
		return fail(path, err)
	}
	return w.found(e)
}

// describe tells what a name is that isn't a directory. A file with several names
// is read once.
func (w *walker) describe(parent int, name, path string, st *unix.Stat_t) (*entry, error) {
	id := inode{uint64(st.Dev), st.Ino}
	if first := w.links[id]; first != nil && st.Nlink > 1 {
		again := *first
		again.path, again.link = path, first.path
		return &again, nil
	}
	var e *entry
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		e, err = w.file(parent, name, path)
	} else {
		e, err = w.special(parent, name, path)
	}
	if err == nil && st.Nlink > 1 {
		w.links[id] = e
	}
	return e, err
}

func (w *walker) file(parent int, name, path string) (*entry, error) {
	fd, st, err := open(parent, name, 0)
	if err != nil {
		return nil, err
	}
	e := common(path, &st)
	if e.typ != 'f' {
		err = unix.ESTALE
	} else {
		e.xattrs, err = w.xattrs(fd, unix.Flistxattr, unix.Fgetxattr)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	e.content = w.readers.read(w.ctx, fd, st.Size, w.buf)
	return e, nil
}

// special describes what must not be opened, through O_PATH. The attributes of such
// a descriptor may be had through its name in /proc, which is the link's own.
func (w *walker) special(parent int, name, path string) (*entry, error) {
	fd, err := openat(parent, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	e := common(path, &st)
	if e.typ == 'l' {
		n, err := unix.Readlinkat(fd, "", w.buf[:unix.PathMax])
		if err != nil {
			return nil, err
		}
		e.target = string(w.buf[:n])
	}
	e.xattrs, err = w.xattrs(fd, func(fd int, b []byte) (int, error) {
		return unix.Listxattr(procPath(fd), b)
	}, func(fd int, attr string, b []byte) (int, error) {
		return unix.Getxattr(procPath(fd), attr, b)
	})
	return e, err
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// common is what every type has, and what is in the same place for all.
func common(path string, st *unix.Stat_t) *entry {
	e := &entry{path: path, typ: 's', mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid, sec: int64(st.Mtim.Sec), nsec: int64(st.Mtim.Nsec)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.typ, e.size = 'f', st.Size
	case unix.S_IFDIR:
		e.typ = 'd'
	case unix.S_IFLNK:
		e.typ = 'l'
	case unix.S_IFCHR:
		e.typ = 'c'
	case unix.S_IFBLK:
		e.typ = 'b'
	case unix.S_IFIFO:
		e.typ = 'p'
	}
	if e.typ == 'c' || e.typ == 'b' {
		e.major, e.minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	}
	return e
}

func (w *walker) xattrs(fd int, list func(int, []byte) (int, error), get func(int, string, []byte) (int, error)) ([]xattr, error) {
	n, err := list(fd, w.buf)
	if err == unix.ENOTSUP || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := strings.Split(strings.TrimSuffix(string(w.buf[:n]), "\x00"), "\x00")
	slices.Sort(names)
	var found []xattr
	for _, name := range names {
		if strings.HasPrefix(name, "security.") && name != "security.capability" {
			continue
		}
		n, err := get(fd, name, w.buf)
		if err == unix.ENODATA {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, xattr{name, xattrValue(w.buf[:n])})
	}
	return found, nil
}

func xattrValue(b []byte) string {
	if len(b) <= plainXattr {
		return hex.EncodeToString(b)
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
