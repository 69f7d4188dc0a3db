package rootfs

import (
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// copySize is the block in which file contents are written; one is kept per Dir.
const copySize = 256 << 10

// Prepare makes an empty directory ready to be filled as root: nobody else may look in before the attributes are right, and
// nothing set on it may be inherited by what is created inside. From then on the Dir relies on having made all that is there.
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
	if err := unix.Fchmod(fd, 0o700); err != nil {
		return fail("preparing", ".", err)
	}
	d.born, err = probe(fd)
	return fail("preparing", ".", err)
}

// dirMode is what directories are made with: what most of them shall have. Nobody else comes past the root until it gets its own mode.
const dirMode = 0o755

// Mkdir makes a directory; SetAttrs gives it its own attributes once it is full.
func (d *Dir) Mkdir(name string) error {
	p, base, err := d.parent(name)
	if err != nil {
		return fail("making directory", name, err)
	}
	defer p.release()
	mode := uint32(0o700)
	if d.born != nil {
		mode = dirMode
	}
	return fail("making directory", name, unix.Mkdirat(p.fd, base, mode))
}

// WriteFile creates a regular file; one of that name, of whatever type, is an error.
func (d *Dir) WriteFile(name string, r io.Reader, a Attrs) error {
	f, err := d.File(name, a)
	if err != nil {
		return err
	}
	if err = f.Create(); err == nil {
		err = d.copy(f, r)
		f.fail(err)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func (d *Dir) copy(f *File, r io.Reader) error {
	if d.buf == nil {
		d.buf = make([]byte, copySize)
	}
	for {
		n, err := r.Read(d.buf)
		if _, werr := f.Write(d.buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fail("writing", f.name, err)
		}
	}
}

// Symlink creates a symbolic link; target is text and not looked at. The link's mode is always 0777 (symlink(7)).
func (d *Dir) Symlink(target, name string, a Attrs) error {
	p, base, err := d.parent(name)
	if err != nil {
		return fail("creating symbolic link", name, err)
	}
	defer p.release()
	if err = unix.Symlinkat(target, p.fd, base); err == nil {
		err = d.setClosed(p.fd, base, a, false)
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
	p, base, err := d.parent(name)
	if err != nil {
		return fail("creating special file", name, err)
	}
	defer p.release()
	if err = unix.Mknodat(p.fd, base, typ|0o600, int(unix.Mkdev(n.Major, n.Minor))); err == nil {
		err = d.setClosed(p.fd, base, a, true)
	}
	return fail("creating special file", name, err)
}

// Link gives the file old a second name. Neither last component is followed: a link to a symbolic link is a second name of that
// link, where following it would reach what it points to (CVE-2026-50163 and its like).
func (d *Dir) Link(old, name string) error {
	to, base, err := d.parent(name)
	if err != nil {
		return fail("linking", name, err)
	}
	defer to.release()
	from, oldBase, err := d.parent(old)
	if err != nil {
		return fail("linking to", old, err)
	}
	defer from.release()
	return fail("linking", name, unix.Linkat(from.fd, oldBase, to.fd, base, 0))
}

// SetAttrs gives a directory its attributes; "." is the root itself. To be called deepest first: what is created in a directory
// changes its time, and a mode may lock out whoever is not root.
func (d *Dir) SetAttrs(name string, a Attrs) error {
	dir, base := d.root, "."
	if name != "." {
		p, last, err := d.parent(name)
		if err != nil {
			return fail("setting the attributes of", name, err)
		}
		defer p.release()
		dir, base = p.fd, last
	}
	if err := d.setDir(dir, base, a); err != nil {
		return fail("setting the attributes of", name, err)
	}
	return fail("setting the times of", name, setTimes(dir, base, a))
}

// setDir spares what Mkdir has already given.
func (d *Dir) setDir(dir int, base string, a Attrs) error {
	made := d.born != nil && base != "."
	if made && d.owned(a) && len(a.Xattrs) == 0 && a.Mode == dirMode&d.born.mode {
		return nil
	}
	fd, err := openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return d.setOpen(fd, a, !made || !d.owned(a), true)
}
