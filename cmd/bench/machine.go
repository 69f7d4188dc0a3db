package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// describe prints what the figures were measured on.
func (b *bench) describe() {
	var u unix.Utsname
	unix.Uname(&u)
	fmt.Fprintf(b.out, "machine: %d CPUs %s, Linux %s, load %s; %s; on %s\n",
		runtime.NumCPU(), runtime.GOARCH, unix.ByteSliceToString(u.Release[:]), load(), runtime.Version(), b.ws.kind())
	fmt.Fprintf(b.out, "umiak:   %s\n", b.umiak)
}

// load is what else kept the machine busy in the last minute.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// fsName is the name of the file system that a directory is on.
func fsName(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err.Error()
	}
	names := map[int64]string{
		unix.TMPFS_MAGIC: "tmpfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	}
	if name, ok := names[int64(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("a file system of type %#x", st.Type)
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	return string(line)
}
