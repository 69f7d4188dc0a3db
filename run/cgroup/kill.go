package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long we wait for the killed to die and for their cgroup to
// let go. A process in an uninterruptible wait can outlast any.
const patience = 3 * time.Second

// Kill kills every process in the group and in groups inside it, and waits
// until they are gone (zombies are).
func (g *Group) Kill() error {
	err := g.Leave() // or we would kill, or freeze, ourselves
	var left int
	for pause := range pauses(patience) {
		var kErr error
		if left, kErr = g.each(count); left == 0 || kErr != nil {
			return errors.Join(err, kErr)
		}
		if kErr = g.killOnce(); kErr != nil {
			return errors.Join(err, kErr)
		}
		time.Sleep(pause)
	}
	return errors.Join(err, fmt.Errorf("killing cgroup %s: %d processes will not die", strings.Join(g.Paths(), " "), left))
}

// each sums f over the group's cgroups and those inside them.
func (g *Group) each(f func(fd int) (int, error)) (sum int, err error) {
	for _, d := range g.dirs {
		err := walk(d.fd(), 0, func(fd int) error {
			n, err := f(fd)
			sum += n
			return err
		})
		if err != nil && !notThere(err) {
			return sum, fmt.Errorf("killing cgroup %s: %w", d.path, err)
		}
	}
	return sum, nil
}

// killOnce signals all it finds. The group is frozen meanwhile, so that it cannot
// fork faster than we read; cgroup.kill (5.14) does both in the kernel.
func (g *Group) killOnce() error {
	killed := 0
	for _, d := range g.dirs {
		if d.version == 2 && writeFile(d.fd(), "cgroup.kill", "1") == nil {
			killed++
		}
	}
	if killed == len(g.dirs) {
		return nil
	}
	thaw := g.freeze()
	defer thaw()
	_, err := g.each(signalAll)
	return err
}

// freeze stops what it can. It does not wait for all to have stopped: the next
// round gets those who forked meanwhile. A v1 task in the freezer takes its
// signals when thawed, so thawing is part of killing.
func (g *Group) freeze() (thaw func()) {
	type frozen struct {
		fd          int
		file, value string
	}
	var list []frozen
	for _, d := range g.dirs {
		f := frozen{d.fd(), "freezer.state", "THAWED"}
		stop := "FROZEN"
		if d.version == 2 {
			f.file, f.value, stop = "cgroup.freeze", "0", "1"
		}
		if writeFile(f.fd, f.file, stop) == nil {
			list = append(list, f)
		}
	}
	return func() {
		for _, f := range list {
			_ = writeFile(f.fd, f.file, f.value) // no worse than not having frozen it
		}
	}
}

func count(fd int) (int, error) {
	pids, err := procs(fd)
	return len(pids), err
}

// signalAll sends SIGKILL to every process in the one cgroup at fd and counts them.
func signalAll(fd int) (int, error) {
	pids, err := procs(fd)
	if err != nil || len(pids) == 0 {
		return 0, err
	}
	handles := map[int]int{}
	for _, pid := range pids {
		if h, err := unix.PidfdOpen(pid, 0); err == nil {
			defer unix.Close(h)
			handles[pid] = h
		}
	}
	// A number read may have passed to a stranger before its handle was opened.
	// One that is listed again is of a process in here; and if the handle is of
	// an earlier one with that number, it is dead and the signal goes nowhere.
	if pids, err = procs(fd); err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if h, ok := handles[pid]; ok {
			err = unix.PidfdSendSignal(h, unix.SIGKILL, nil, 0)
		} else {
			err = unix.Kill(pid, unix.SIGKILL) // no pidfd_open before 5.3, or under a filter
		}
		if err != nil && err != unix.ESRCH {
			return len(pids), fmt.Errorf("killing process %d: %w", pid, err)
		}
	}
	return len(pids), nil
}

// maxProcs bounds what we read of one list of processes; a longer one is dealt
// with in rounds.
const maxProcs = 1 << 20

// procs are the processes in the cgroup at fd, without ourselves.
func procs(fd int) ([]int, error) {
	b, err := readFile(fd, "cgroup.procs", maxProcs)
	if errors.Is(err, errTooLong) {
		b, err = b[:strings.LastIndexByte(string(b), '\n')+1], nil
	}
	if notThere(err) || errors.Is(err, unix.EOPNOTSUPP) { // a threaded cgroup shows its processes further up
		return nil, nil
	}
	var pids []int
	for line := range strings.Lines(string(b)) {
		// 0 is a process that our pid namespace does not show.
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// notThere reports a control file, or a whole cgroup, that is not there (any
// more): reading a file of a removed cgroup gives ENODEV.
func notThere(err error) bool {
	return errors.Is(err, errNotThere) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

// Remove removes the group, and groups that were made inside it. It waits a
// little for processes that are about to end and may be called again.
func (g *Group) Remove() error {
	errs := []error{g.Leave()}
	var kept []*dir
	for _, d := range g.dirs {
		if err := d.remove(); err != nil {
			errs = append(errs, err)
			kept = append(kept, d)
			continue
		}
		d.close()
	}
	g.dirs = kept
	return errors.Join(errs...)
}

func (d *dir) remove() error {
	var err error
	for pause := range pauses(patience) {
		if err = removeTree(int(d.parent.Fd()), d.base, 0); err != unix.EBUSY {
			break
		}
		time.Sleep(pause)
	}
	if err != nil {
		return fmt.Errorf("removing cgroup %s: %w", d.path, err)
	}
	return nil
}

// pauses yields ever longer pauses until they would sum up to more than total.
func pauses(total time.Duration) func(func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		for sum, p := time.Duration(0), 500*time.Microsecond; sum < total; sum, p = sum+p, min(2*p, 100*time.Millisecond) {
			if !yield(p) {
				return
			}
		}
	}
}

// Clean kills what is left in the directories of a group whose maker has died
// (see Paths) and removes them. It refuses what New cannot have made.
func Clean(paths []string) error {
	g := &Group{}
	var errs []error
	for _, p := range paths {
		if err := g.adopt(p); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	if len(g.dirs) == 0 {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, g.Kill(), g.Remove())...)
}

// adopt adds the existing directory at p to the group.
func (g *Group) adopt(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || !strings.HasPrefix(path.Base(p), prefix) {
		return fmt.Errorf("cleaning up cgroup %q: not a path that umiak makes", p)
	}
	parent, err := openParent(path.Dir(p), 0)
	if err != nil {
		return fmt.Errorf("cleaning up cgroup %s: %w", p, err)
	}
	d, err := openDir(parent, p)
	if err != nil {
		parent.Close()
		return fmt.Errorf("cleaning up cgroup %s: %w", p, err)
	}
	g.dirs = append(g.dirs, d)
	return nil
}
