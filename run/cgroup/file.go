package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds what we read of a control file; the kernel's are a page or so.
const maxFile = 64 << 10

// maxDepth bounds how far we follow cgroups that a container has made in its own.
const maxDepth = 64

var (
	errNotThere = errors.New("no such control file")
	errTooLong  = errors.New("file too long")
)

// readFile reads name beneath the directory at. More than limit bytes are an
// error; what was read comes with it.
func readFile(at int, name string, limit int) ([]byte, error) {
	fd, err := openat(at, name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) > limit {
			return buf[:limit], &fs.PathError{Op: "read", Path: name, Err: errTooLong}
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return buf, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}

// writeFile writes value with one write(2), which is how control files take it.
// A file that is not there is errNotThere, to tell it from an ENOENT of the write.
func writeFile(at int, name, value string) error {
	fd, err := openat(at, name, unix.O_WRONLY)
	if errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "open", Path: name, Err: errNotThere}
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := retry(func() (int, error) { return unix.Write(fd, []byte(value)) }); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

// openat never follows a link in the last component: control files are none.
func openat(at int, name string, flags int) (int, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(at, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// retry repeats what a signal has interrupted; Go's own preemption sends many.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// makeDir makes base in parent and adds it to the group, so that from here on
// Remove takes it away.
func (g *Group) makeDir(h *hierarchy, parent, base string) error {
	p, err := openParent(parent, h.version)
	if err != nil {
		return err
	}
	full := path.Join(parent, base)
	if err := unix.Mkdirat(int(p.Fd()), base, 0o755); err != nil {
		p.Close()
		return &fs.PathError{Op: "mkdir", Path: full, Err: err}
	}
	d, err := openDir(p, full)
	if err != nil {
		return errors.Join(err, unix.Unlinkat(int(p.Fd()), base, unix.AT_REMOVEDIR), p.Close())
	}
	g.dirs = append(g.dirs, d)
	return nil
}

// openParent opens an existing directory of a cgroup file system. With version 0
// either will do.
func openParent(name string, version int) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	v, err := fsVersion(fd)
	if err == nil && (v == 0 || version != 0 && v != version) {
		err = errors.New("not the cgroup file system that was expected there")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return f, nil
}

// openDir opens full, which lies in parent, and takes parent over if it can.
func openDir(parent *os.File, full string) (*dir, error) {
	base := path.Base(full)
	fd, err := openat(int(parent.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	self := os.NewFile(uintptr(fd), full)
	v, err := fsVersion(fd)
	if err == nil && v == 0 {
		err = fmt.Errorf("opening %s: not in a cgroup file system", full)
	}
	if err != nil {
		self.Close()
		return nil, err
	}
	return &dir{version: v, path: full, base: base, parent: parent, self: self}, nil
}

// fsVersion is 1 or 2 in a cgroup file system and 0 elsewhere.
func fsVersion(fd int) (int, error) {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatfs(fd, &st) }); err != nil {
		return 0, fmt.Errorf("finding the file system type: %w", err)
	}
	switch int64(st.Type) {
	case unix.CGROUP_SUPER_MAGIC:
		return 1, nil
	case unix.CGROUP2_SUPER_MAGIC:
		return 2, nil
	}
	return 0, nil
}

// children calls f with each cgroup directly inside the one at fd, until an error.
func children(fd int, f func(name string) error) error {
	// A second descriptor: reading a directory moves its offset.
	own, err := openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(own), ".")
	defer d.Close()
	for {
		list, err := d.ReadDir(256)
		for _, e := range list {
			if e.IsDir() {
				if err := f(e.Name()); err != nil {
					return err
				}
			}
		}
		if len(list) == 0 || err != nil {
			return nil // io.EOF, or a directory that went while we read it
		}
	}
}

// walk calls f with the cgroup at fd and with all inside it. One that vanishes
// meanwhile is left out.
func walk(fd, depth int, f func(fd int) error) error {
	if err := f(fd); err != nil {
		return err
	}
	return children(fd, func(name string) error {
		if depth >= maxDepth {
			return fmt.Errorf("walking the cgroups of the container: more than %d deep", maxDepth)
		}
		child, err := openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		defer unix.Close(child)
		return walk(child, depth+1, f)
	})
}

// removeTree removes the cgroup name in parent and those inside it.
func removeTree(parent int, name string, depth int) error {
	err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EBUSY && err != unix.ENOTEMPTY || depth >= maxDepth {
		return err
	}
	fd, openErr := openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if openErr != nil {
		return err
	}
	defer unix.Close(fd)
	// An error here shows again in the last rmdir.
	_ = children(fd, func(child string) error {
		_ = removeTree(fd, child, depth+1)
		return nil
	})
	if err = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err == unix.ENOENT {
		return nil
	}
	return err
}

// explain adds to an errno of a control file what it means there.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w (block I/O limits take whole disks, not partitions)", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, unix.ENOSPC):
		var p *fs.PathError
		if errors.As(err, &p) && strings.HasPrefix(p.Path, "cpu") {
			return fmt.Errorf("%w (the machine or the cgroup above has less)", err)
		}
	}
	return err
}
