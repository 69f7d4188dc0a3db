// Package flock takes advisory locks that the kernel drops when their holder
// dies.
//
// The locks are those of flock(2): they belong to an open file description, so
// two opens of one file exclude each other within a process as well as between
// processes, and nothing is left to clean up after kill -9. They are advisory,
// and on network file systems only as good as those make them.
//
// A lock file, or a locked directory, may be removed or renamed by whoever
// holds it. Someone who opened it before and gets the lock after then holds a
// lock on something that nobody else will ever find. Open and Create
// therefore look once more at the name after locking.
package flock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy says that somebody else holds the lock.
var ErrBusy = errors.New("locked by somebody else")

// Mode is how a lock is held.
type Mode int

const (
	Shared    Mode = unix.LOCK_SH
	Exclusive Mode = unix.LOCK_EX
)

// Waiting is by polling, since flock(2) can only be interrupted by a signal to
// the very thread that waits. A waiter is late by half as much again as it has
// waited, and never by more than the last delay.
const (
	firstDelay = time.Millisecond
	lastDelay  = 50 * time.Millisecond
)

// Try takes the lock on f or returns ErrBusy at once. Turning one mode into
// the other is not atomic: the old lock is gone before the new one is asked
// for.
func Try(f *os.File, m Mode) error {
	err := flock(f, int(m)|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("locking %s: %w", f.Name(), ErrBusy)
	}
	return err
}

// Lock takes the lock on f, waiting for it until ctx ends.
func Lock(ctx context.Context, f *os.File, m Mode) error {
	for delay := firstDelay; ; delay = min(delay*3/2, lastDelay) {
		err := Try(f, m)
		if !errors.Is(err, ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the lock on %s: %w", f.Name(), ctx.Err())
		case <-time.After(delay):
		}
	}
}

// Close drops the lock and closes f. The lock is dropped by name, so to speak,
// since closing alone would leave it with any duplicate of the descriptor:
// one made on purpose, or the one that a child has between fork and exec.
func Close(f *os.File) error {
	return errors.Join(flock(f, unix.LOCK_UN), f.Close())
}

// Open opens what stands at name beneath dir and locks it without waiting. The
// error is ErrBusy if it's locked, fs.ErrNotExist if there is nothing, or
// if what was locked has lost its name meanwhile.
func Open(dir *os.Root, name string, flag int, m Mode) (*os.File, error) {
	f, err := dir.OpenFile(name, flag, 0)
	if err != nil {
		return nil, err
	}
	err = Try(f, m)
	if err == nil {
		err = stillNamed(dir, name, f)
	}
	if err != nil {
		f.Close() // Not locked by us, or locked and unknown to anybody else.
		return nil, err
	}
	return f, nil
}

// Create takes the exclusive lock on a lock file, which it makes if necessary,
// waiting until ctx ends. Remove gives it back.
func Create(ctx context.Context, dir *os.Root, name string) (*os.File, error) {
	for {
		f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = Lock(ctx, f, Exclusive)
		if err == nil {
			err = stillNamed(dir, name, f)
		}
		if err == nil {
			return f, nil
		}
		f.Close()
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// Remove unlinks a lock file that the caller holds exclusively and drops the
// lock, in this order: who waits for the lock finds it nameless and starts
// over, who comes later makes a new file.
func Remove(dir *os.Root, name string, f *os.File) error {
	return errors.Join(dir.Remove(name), Close(f))
}

func stillNamed(dir *os.Root, name string, f *os.File) error {
	held, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if !os.SameFile(held, named) {
		return &fs.PathError{Op: "flock", Path: name, Err: fs.ErrNotExist}
	}
	return nil
}

// flock goes through SyscallConn, which keeps the descriptor from being closed
// (and its number reused) meanwhile.
func flock(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locking error
	err = conn.Control(func(fd uintptr) {
		for {
			locking = unix.Flock(int(fd), how)
			if locking != unix.EINTR {
				return
			}
		}
	})
	if err == nil && locking != nil {
		err = &fs.PathError{Op: "flock", Path: f.Name(), Err: locking}
	}
	return err
}
