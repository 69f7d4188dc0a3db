package child

import (
	"os"

	"golang.org/x/sys/unix"
)

// insideOut says whether this program was started from a root that it is not in: its file is not
// where its own name says, as it is for a container's program that got hold of a link to it. The
// init is started so on purpose, but by a mount that is read-only. Without /proc nobody can have
// had such a link.
func insideOut() bool {
	var own unix.Stat_t
	if unix.Stat("/proc/self/exe", &own) != nil {
		return false
	}
	if len(os.Args) > 0 && os.Args[0] == initArgv0 {
		var fs unix.Statfs_t
		return unix.Statfs("/proc/self/exe", &fs) != nil || fs.Flags&unix.ST_RDONLY == 0
	}
	name, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return false
	}
	if deleted(name) {
		return false // replaced by a newer one while it was being started: its own root still
	}
	var named unix.Stat_t
	err = unix.Stat(name, &named)
	return err != nil || named.Dev != own.Dev || named.Ino != own.Ino
}

// deleted says whether the kernel marks the name as one that is gone, proc_pid_exe(5).
func deleted(name string) bool {
	const mark = " (deleted)"
	return len(name) > len(mark) && name[len(name)-len(mark):] == mark
}
