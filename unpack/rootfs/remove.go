package rootfs

import "golang.org/x/sys/unix"

// RemoveAll removes name and, if it is a directory, all that is in it. Nothing there is no error. No link is followed.
func (d *Dir) RemoveAll(name string) error {
	return d.remove(name, removeAt)
}

// Remove removes name, which is no directory.
func (d *Dir) Remove(name string) error {
	return d.remove(name, func(parent int, base string) error { return unix.Unlinkat(parent, base, 0) })
}

func (d *Dir) remove(name string, remove func(parent int, base string) error) error {
	p, base, err := d.parent(name)
	if err == nil {
		err = remove(p.fd, base)
		p.release()
	}
	d.parents.forget(name)
	if err == unix.ENOENT {
		err = nil
	}
	return fail("removing", name, err)
}

// removeAt holds one descriptor for each level, which the caller's limit on depth bounds.
func removeAt(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	// unlink(2) of a directory is EISDIR on Linux, EPERM by POSIX and on some file systems.
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	fd, oerr := openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if oerr != nil {
		return err
	}
	defer unix.Close(fd)
	if err := empty(fd); err != nil {
		return err
	}
	return unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
}

// empty reads from the start until nothing is left: where entries vanish while being listed, a file system may leave some out.
func empty(fd int) error {
	buf := make([]byte, 8192)
	for {
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			return err
		}
		removed := 0
		for {
			n, err := unix.ReadDirent(fd, buf)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			_, _, names := unix.ParseDirent(buf[:n], -1, nil)
			for _, name := range names {
				if err := removeAt(fd, name); err != nil && err != unix.ENOENT {
					return err
				}
				removed++
			}
		}
		if removed == 0 {
			return nil
		}
	}
}
