package rootfs

import (
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// copySize is the block in which file contents are written; one is kept per Dir.
const copySize = 256 << 10

// Prepare makes an empty directory ready to be filled as root: nobody else may look in before the attributes are right, and
// nothing set on it may be inherited by what is created inside.
func (d *Dir) Prepare() error {
	fd, err := openat(d.root, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fail("opening", ".", err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return fail("reading directory", ".", err)
		}
		if n == 0 {
			break
		}
		if _, _, names := unix.ParseDirent(buf[:n], -1, nil); len(names) > 0 {
			return fail("preparing", ".", unix.ENOTEMPTY)
		}
	}
	// A default ACL would give every new file an ACL of its own, a setgid directory its group (acl(5), inode(7)).
	if err := unix.Fremovexattr(fd, "system.posix_acl_default"); err != nil && err != unix.ENODATA && err != unix.ENOTSUP {
		return fail("removing the default ACL of", ".", err)
	}
	return fail("preparing", ".", unix.Fchmod(fd, 0o700))
}

// Mkdir makes a directory that is ours alone; SetAttrs gives it its own attributes once it is full.
func (d *Dir) Mkdir(name string) error {
	parent, base, err := d.parent(name)
	if err == nil {
		err = unix.Mkdirat(parent, base, 0o700)
	}
	return fail("making directory", name, err)
}

// WriteFile creates a regular file; one of that name, of whatever type, is an error.
func (d *Dir) WriteFile(name string, r io.Reader, a Attrs) error {
	parent, base, err := d.parent(name)
	if err != nil {
		return fail("creating", name, err)
	}
	// O_EXCL refuses links, devices and fifos alike: nothing that exists is ever opened for writing.
	fd, err := openat(parent, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fail("creating", name, err)
	}
	err = d.copy(fd, r)
	if err == nil {
		err = d.setOpen(fd, a)
	}
	if err == nil {
		err = setTimes(parent, base, a)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return fail("writing", name, err)
}

func (d *Dir) copy(fd int, r io.Reader) error {
	if d.buf == nil {
		d.buf = make([]byte, copySize)
	}
	for {
		n, err := r.Read(d.buf)
		if werr := writeAll(fd, d.buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Symlink creates a symbolic link; target is text and not looked at. The link's mode is always 0777 (symlink(7)).
func (d *Dir) Symlink(target, name string, a Attrs) error {
	parent, base, err := d.parent(name)
	if err == nil {
		err = unix.Symlinkat(target, parent, base)
	}
	if err == nil {
		err = d.setClosed(parent, base, a, false)
	}
	return fail("creating symbolic link", name, err)
}

// Mknod creates a device or a fifo.
func (d *Dir) Mknod(name string, n Node, a Attrs) error {
	typ := uint32(unix.S_IFBLK)
	switch n.Type {
	case fs.ModeNamedPipe:
		typ = unix.S_IFIFO
	case fs.ModeDevice | fs.ModeCharDevice:
		typ = unix.S_IFCHR
	}
	parent, base, err := d.parent(name)
	if err == nil {
		err = unix.Mknodat(parent, base, typ|0o600, int(unix.Mkdev(n.Major, n.Minor)))
	}
	if err == nil {
		err = d.setClosed(parent, base, a, true)
	}
	return fail("creating special file", name, err)
}

// Link gives the file old a second name. Neither last component is followed: a link to a symbolic link is a second name of that
// link, where following it would reach what it points to (CVE-2026-50163 and its like).
func (d *Dir) Link(old, name string) error {
	parent, base, err := d.parent(name)
	if err != nil {
		return fail("linking", name, err)
	}
	from, oldBase := split(old)
	source := parent
	if from != d.parentName {
		if source, err = d.lookup(d.root, from, unix.O_DIRECTORY); err != nil {
			return fail("linking to", old, err)
		}
		defer unix.Close(source)
	}
	return fail("linking", name, unix.Linkat(source, oldBase, parent, base, 0))
}

// SetAttrs gives a directory its attributes; "." is the root itself. To be called deepest first: what is created in a directory
// changes its time, and a mode may lock out whoever is not root.
func (d *Dir) SetAttrs(name string, a Attrs) error {
	parent, base, err := d.root, ".", error(nil)
	if name != "." {
		parent, base, err = d.parent(name)
	}
	if err != nil {
		return fail("setting the attributes of", name, err)
	}
	fd, err := openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fail("setting the attributes of", name, err)
	}
	defer unix.Close(fd)
	if err := d.setOpen(fd, a); err != nil {
		return fail("setting the attributes of", name, err)
	}
	return fail("setting the times of", name, setTimes(parent, base, a))
}
