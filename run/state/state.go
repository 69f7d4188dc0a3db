// Package state keeps what must have a name while a container runs, and clears it away after a
// crash.
//
// A run's writable layer, its mount point and a note of its cgroups sit in a directory of its
// own, <base>/<id>. The directory is locked (flock(2)) for as long as the run lasts, and the
// kernel drops the lock when its holder dies, however it dies: so what is not locked is nobody's,
// and [Sweep] may remove it. There are no pid files and no time stamps to be wrong.
package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// State is the directory of one run, locked.
type State struct {
	path string
	dir  *os.File
}

// Create makes and locks <base>/<id>. An id in use is an error.
func Create(base, id string) (*State, error) {
	path := filepath.Join(base, id)
	for {
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, fmt.Errorf("making the run's directory: %w", err)
		}
		s, err := lock(path, unix.LOCK_EX)
		if errors.Is(err, os.ErrNotExist) {
			continue // a sweep took it for a leftover between the two calls
		}
		return s, err
	}
}

// lock opens and locks a directory, and makes sure that it is still the one of that name.
func lock(path string, how int) (*State, error) {
	d, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the run's directory: %w", err)
	}
	if err := unix.Flock(int(d.Fd()), how); err != nil {
		d.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	var mine, named unix.Stat_t
	if err := errors.Join(unix.Fstat(int(d.Fd()), &mine), unix.Lstat(path, &named)); err != nil || mine.Ino != named.Ino {
		d.Close()
		return nil, fmt.Errorf("locking %s: %w", path, os.ErrNotExist)
	}
	return &State{path: path, dir: d}, nil
}

// Path gives the path of a file of the run's.
func (s *State) Path(name ...string) string {
	return filepath.Join(append([]string{s.path}, name...)...)
}

// Write makes a file of the run's.
func (s *State) Write(name, content string, mode os.FileMode) error {
	err := os.WriteFile(s.Path(name), []byte(content), mode)
	if err == nil {
		err = os.Chmod(s.Path(name), mode) // whatever the caller's umask
	}
	if err != nil {
		return fmt.Errorf("writing the run's %s: %w", name, err)
	}
	return nil
}

// cgroups is the file that notes the paths of the run's cgroups.
const cgroups = "cgroups"

// NoteCgroups records the cgroups that a sweep must remove if this process can't.
func (s *State) NoteCgroups(paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	return s.Write(cgroups, strings.Join(paths, "\n")+"\n", 0o600)
}

// Remove deletes the directory and all in it, and drops the lock.
func (s *State) Remove() error {
	err := os.RemoveAll(s.path)
	return errors.Join(err, s.dir.Close())
}

// Sweep removes up to most directories beneath base that nobody holds, calling clean with the
// cgroups noted in each first. It looks at few, so that a start costs the same however many there
// are. A directory that can't be removed
// is left to a later sweep.
func Sweep(base string, most int, clean func(cgroups []string) error) (removed int, err error) {
	d, err := os.Open(base)
	if err != nil {
		return 0, fmt.Errorf("sweeping: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(4 * most)
	if err != nil && err != io.EOF {
		return 0, fmt.Errorf("sweeping: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		if removed == most {
			break
		}
		s, err := lock(filepath.Join(base, name), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue // in use, or gone
		}
		if s.clear(clean) == nil {
			removed++
		}
		s.dir.Close()
	}
	return removed, nil
}

func (s *State) clear(clean func([]string) error) error {
	note, err := os.ReadFile(s.Path(cgroups))
	if err == nil {
		if err := clean(strings.Fields(string(note))); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.path)
}
