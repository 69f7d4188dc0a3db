package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// workspace is where the benchmark puts all it makes: a directory in memory where there is one, so that no disk's mood is
// measured. The file systems that umiak and others work on are in it.
type workspace struct {
	dir   string
	mkfs  string // mkfs.ext4, "" without
	mount string
	why   string // there is no ext4, if there is none
	disks []*disk
}

// room is what a file system for a few trees and caches takes at most, in bytes; it is sparse until used.
const room = 3 << 30

func newWorkspace(base string, root bool) (*workspace, error) {
	switch {
	case base != "":
	case roomy("/dev/shm", room):
		base = "/dev/shm"
	default:
		base = os.TempDir()
	}
	dir, err := os.MkdirTemp(base, "umiak-bench-")
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, err
	}
	w := &workspace{dir: dir}
	w.mkfs, err = program("mkfs.ext4")
	if err == nil {
		w.mount, err = program("mount")
	}
	switch {
	case !root:
		w.why = "needs root"
	case err != nil:
		w.why = err.Error()
	default:
		w.tryDisk()
	}
	return w, nil
}

// tryDisk finds out whether this machine lets us mount a file system in a file: inside a container it may not.
func (w *workspace) tryDisk() {
	d, err := w.disk(context.Background(), "try")
	if err != nil {
		w.why = err.Error()
		return
	}
	if err := d.close(); err != nil {
		w.why = err.Error()
	}
}

func roomy(dir string, bytes uint64) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Bavail*uint64(st.Bsize) >= bytes && unix.Access(dir, unix.W_OK) == nil
}

func (w *workspace) path(name ...string) string {
	return filepath.Join(append([]string{w.dir}, name...)...)
}

// kind says what the measured file systems are.
func (w *workspace) kind() string {
	if w.why != "" {
		return fsName(w.dir) + " (no ext4 in a loop file: " + w.why + ")"
	}
	return "ext4 in a loop file on " + fsName(w.dir)
}

func (w *workspace) close() error {
	var errs []error
	for _, d := range w.disks {
		errs = append(errs, d.close())
	}
	// What a run made may be closed even to its owner.
	filepath.WalkDir(w.dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// disk is a fresh file system, or a fresh directory where that can't be.
type disk struct {
	w       *workspace
	dir     string
	mounted bool
}

func (w *workspace) disk(ctx context.Context, name string) (*disk, error) {
	d := &disk{w: w, dir: w.path(name)}
	w.disks = append(w.disks, d)
	return d, d.fresh(ctx)
}

// fresh makes it as new. Files are never made where many were deleted: on ext4 that is slow for minutes, and would be
// charged to whoever comes next.
func (d *disk) fresh(ctx context.Context) error {
	if err := d.close(); err != nil {
		return err
	}
	if err := os.Mkdir(d.dir, 0o755); err != nil || d.w.why != "" {
		return err
	}
	return d.format(ctx)
}

func (d *disk) format(ctx context.Context) error {
	file := d.dir + ".ext4"
	defer os.Remove(file) // once it is mounted the loop device keeps it
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(room), f.Close()); err != nil {
		return err
	}
	// Inode tables now and not by a kernel thread while we measure.
	if err := d.w.tool(ctx, d.w.mkfs, "-q", "-F", "-E", "lazy_itable_init=0", "-i", strconv.Itoa(32<<10), file); err != nil {
		return err
	}
	if err := d.w.tool(ctx, d.w.mount, "-t", "ext4", "-o", "loop", file, d.dir); err != nil {
		return err
	}
	d.mounted = true
	return nil
}

func (w *workspace) tool(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, firstLine(out))
	}
	return nil
}

// close removes it. Whoever worked there has ended, so that the unmount finds nobody.
func (d *disk) close() error {
	if d.mounted {
		if err := unix.Unmount(d.dir, 0); err != nil {
			return fmt.Errorf("unmounting %s: %w", d.dir, errors.Join(err, unix.Unmount(d.dir, unix.MNT_DETACH)))
		}
		d.mounted = false
	}
	return os.RemoveAll(d.dir)
}
