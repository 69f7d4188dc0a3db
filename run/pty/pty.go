// Package pty joins the caller's terminal to a process's.
//
// The process's terminal is made in a devpts file system of its own, so that it can be mounted at
// the container's /dev/pts and ttyname(3) works inside. The end is opened by TIOCGPTPEER, never
// by a path that the container could change (CVE-2025-52565).
package pty

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Pair is a new terminal: its file system, not yet attached anywhere, and its two ends.
type Pair struct {
	Mount  *os.File
	Master *os.File
	Slave  *os.File
}

// Open makes a terminal in a new devpts, with the options docker mounts it with. It needs
// CAP_SYS_ADMIN.
func Open() (*Pair, error) {
	fs, err := unix.Fsopen("devpts", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a devpts: %w", err)
	}
	defer unix.Close(fs)
	for _, p := range [][2]string{{"source", "devpts"}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}} {
		if err := unix.FsconfigSetString(fs, p[0], p[1]); err != nil {
			return nil, fmt.Errorf("making a devpts with %s=%s: %w", p[0], p[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("making a devpts: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a devpts: %w", err)
	}
	p := &Pair{Mount: os.NewFile(uintptr(mount), "devpts")}
	if err := p.open(mount); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// open opens both ends. The master is non-blocking, so that the runtime can poll it and closing
// it ends a read.
func (p *Pair) open(mount int) error {
	m, err := unix.Openat(mount, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("opening a terminal: %w", err)
	}
	p.Master = os.NewFile(uintptr(m), "ptmx")
	if err := unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlocking the terminal: %w", err)
	}
	s, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(m), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fmt.Errorf("opening the terminal's other end: %w", errno)
	}
	p.Slave = os.NewFile(s, "terminal")
	return nil
}

// CloseSlave closes what only the process needs, so that the master ends when the process does.
func (p *Pair) CloseSlave() {
	if p.Slave != nil {
		p.Slave.Close()
	}
	p.Mount.Close()
}

// Close closes all of it.
func (p *Pair) Close() {
	p.CloseSlave()
	if p.Master != nil {
		p.Master.Close()
	}
}
