package rootfs

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// setFile gives an open file what Create has not given it. setDir is for directories.
func (d *Dir) setFile(fd int, a Attrs) error {
	return d.setOpen(fd, a, !d.owned(a), d.chmodNeeded(a))
}

// setOpen gives an open file or directory its attributes, but for the times.
//
// The order matters: chown(2) drops security.capability and the setuid bits, so both come after it; writing an ACL changes the mode, so
// the mode comes after the extended attributes.
func (d *Dir) setOpen(fd int, a Attrs, chown, chmod bool) error {
	if chown {
		if err := unix.Fchown(fd, int(a.UID), int(a.GID)); err != nil {
			return fmt.Errorf("changing its owner to %d:%d: %w", a.UID, a.GID, err)
		}
	}
	for _, x := range a.Xattrs {
		if err := d.xattr(x.Name, unix.Fsetxattr(fd, x.Name, x.Value, 0)); err != nil {
			return err
		}
	}
	if !chmod {
		return nil
	}
	return unix.Fchmod(fd, a.Mode&0o7777)
}

// setClosed does the same for what must not be opened: links, fifos and devices. fchmodat(2) cannot refuse to follow a link before
// kernel 6.6 and no call sets attributes through O_PATH before 6.13, but both may be had through the descriptor's name in /proc.
func (d *Dir) setClosed(parent int, base string, a Attrs, chmod bool) error {
	if !chmod && len(a.Xattrs) == 0 {
		if !d.owned(a) {
			if err := unix.Fchownat(parent, base, int(a.UID), int(a.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
		return setTimes(parent, base, a)
	}
	fd, err := openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchownat(fd, "", int(a.UID), int(a.GID), unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("changing its owner to %d:%d: %w", a.UID, a.GID, err)
	}
	path := procPath(fd)
	for _, x := range a.Xattrs {
		if err := d.xattr(x.Name, unix.Setxattr(path, x.Name, x.Value, 0)); err != nil {
			return err
		}
	}
	if chmod {
		if err := unix.Chmod(path, a.Mode&0o7777); err != nil {
			return err
		}
	}
	return setTimes(parent, base, a)
}

// xattr lets pass what this file system or our privilege cannot hold: user.* on a link, trusted.* in a container, a namespace
// that the kernel doesn't know. Docker and GNU tar do so too; refusing would make such images unusable for a detail.
func (d *Dir) xattr(name string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ENOTSUP, unix.EPERM:
		d.skipped.Add(1)
		return nil
	}
	return fmt.Errorf("setting attribute %q: %w", name, err)
}

// setTimes sets both times: an image has no use for the time of last access, and equal trees should be equal.
func setTimes(parent int, base string, a Attrs) error {
	ts, err := timespecs(a)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(parent, base, ts[:], unix.AT_SYMLINK_NOFOLLOW)
}

func timespecs(a Attrs) ([2]unix.Timespec, error) {
	ts, err := unix.TimeToTimespec(a.ModTime) // 32 bits may not hold it
	return [2]unix.Timespec{ts, ts}, err
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
