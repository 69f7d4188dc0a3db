package cache

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// removeTree removes name beneath parent, whatever it is, and returns how much
// disk space that freed.
//
// The tree comes from an image, so its author is the adversary. It's walked by
// descriptors, never by paths, and no symbolic link is followed. It may be
// deeper than there are descriptors or bytes in a path. A directory's mode may
// forbid its owner to list or change it. And what somebody has mounted on it
// isn't ours to empty.
func removeTree(ctx context.Context, parent *os.File, name string) (freed int64, err error) {
	r := &remover{ctx: ctx}
	err = r.remove(int(parent.Fd()), name, 0)
	return r.freed, err
}

// maxDepth is how deep to descend, holding a descriptor a level. Directories
// further down are moved up to the top and have their turn there.
const maxDepth = 64

type remover struct {
	ctx   context.Context
	top   int // Descriptor of the directory at depth 0.
	freed int64
}

// remove removes an entry of the directory parent. One that is gone already is
// all right.
func (r *remover) remove(parent int, name string, depth int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = r.removeDir(parent, name, depth)
	} else if err == nil {
		err = removing(name, unix.Unlinkat(parent, name, 0))
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR || st.Nlink == 1:
		r.freed += st.Blocks * 512 // stat(2): in units of 512 bytes, always.
	}
	return nil
}

func (r *remover) removeDir(parent int, name string, depth int) error {
	dir, err := openForEmptying(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if depth == 0 {
		r.top = int(dir.Fd())
	}
	for {
		n, err := r.empty(dir, depth)
		if err != nil {
			return err
		}
		err = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
		// Reading a directory while it changes may skip entries, and the top is
		// given new ones. Start over as long as that gets further.
		if n == 0 || !errors.Is(err, unix.ENOTEMPTY) {
			return removing(name, err)
		}
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// empty goes through a directory once and returns how many entries it met.
func (r *remover) empty(dir *os.File, depth int) (met int, err error) {
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			remove := r.remove
			if depth+1 == maxDepth {
				remove = r.lift
			}
			if err := remove(int(dir.Fd()), name, depth+1); err != nil {
				return met, err
			}
			met++
		}
		if err == io.EOF {
			return met, nil
		}
		if err != nil {
			return met, err
		}
	}
}

// lift is remove for what is too deep: directories go to the top instead.
func (r *remover) lift(parent int, name string, depth int) error {
	dir, err := openForEmptying(parent, name) // Moving a directory changes its "..", which takes write permission.
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return r.remove(parent, name, depth)
	}
	if err != nil {
		return err
	}
	dir.Close()
	return removing(name, unix.Renameat(parent, name, r.top, ".lifted-"+randomName()))
}

// openForEmptying opens a directory for emptying, and makes its mode allow that.
func openForEmptying(parent int, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(parent, name, flags, 0)
	if errors.Is(err, unix.EACCES) {
		if err = unlockDir(parent, name); err == nil {
			fd, err = unix.Openat(parent, name, flags, 0)
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "openat", Path: name, Err: err}
	}
	dir := os.NewFile(uintptr(fd), name)
	var st unix.Statx_t
	if err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MODE, &st); err != nil {
		err = &fs.PathError{Op: "statx", Path: name, Err: err}
	} else if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 { // Linux 5.8; before, unset.
		err = &fs.PathError{Op: "remove", Path: name, Err: errors.New("something is mounted there")}
	} else if st.Mode&0o700 != 0o700 {
		err = dir.Chmod(0o700)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// unlockDir gives the owner all rights on a directory that he may not even
// read. An O_PATH descriptor needs no rights on the directory itself, and its
// name in /proc can't be turned into another file between check and chmod, as
// the directory's own name can (fchmodat(2) follows symbolic links before
// Linux 6.6).
func unlockDir(parent int, name string) error {
	fd, err := unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700)
}

func removing(name string, err error) error {
	if err != nil {
		return &fs.PathError{Op: "unlinkat", Path: name, Err: err}
	}
	return nil
}
