package rootfs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// File is a regular file to be created: its directory is already looked up, so that what remains may be done by any one goroutine
// while the Dir goes on. It takes four system calls where nothing is unusual.
type File struct {
	dir    *Dir
	parent *parent
	name   string
	base   string
	attrs  Attrs
	fd     int
	err    error // the first
}

// File looks up the directory that name is in. The File must be closed.
func (d *Dir) File(name string, a Attrs) (*File, error) {
	p, base, err := d.parent(name)
	if err != nil {
		return nil, fail("creating", name, err)
	}
	return &File{dir: d, parent: p, name: name, base: base, attrs: a, fd: -1}, nil
}

// Create creates the file; one of that name, of whatever type, is an error.
func (f *File) Create() error {
	// O_EXCL refuses links, devices and fifos alike: nothing that exists is ever opened for writing.
	fd, err := openat(f.parent.fd, f.base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW, f.dir.createMode(f.attrs))
	if err != nil {
		return f.fail(fail("creating", f.name, err))
	}
	f.fd = fd
	return nil
}

// Write appends p.
func (f *File) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := writeAll(f.fd, p)
	return n, f.fail(fail("writing", f.name, err))
}

// Close gives the file its attributes, unless something went wrong before, and closes it. It returns the first error.
func (f *File) Close() error {
	defer f.parent.release()
	if f.fd < 0 {
		return f.err
	}
	if f.err == nil {
		err := f.dir.setFile(f.fd, f.attrs)
		if err == nil {
			err = futimens(f.fd, f.attrs)
		}
		f.fail(fail("writing", f.name, err))
	}
	f.fail(fail("closing", f.name, unix.Close(f.fd)))
	return f.err
}

func (f *File) fail(err error) error {
	if f.err == nil {
		f.err = err
	}
	return f.err
}

func writeAll(fd int, b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(fd, b[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// futimens is the one call that package unix lacks: utimensat(2) without a name. By name the kernel would look it up again.
func futimens(fd int, a Attrs) error {
	ts, err := timespecs(a)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
