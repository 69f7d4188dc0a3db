package run

import "os"

// difference is one between umiak and another runtime, given the same spec, that is meant to be.
// In fact, ours and theirs * is any text.
type difference struct {
	what, why          string // as README.md has it
	runtimes           string
	fact, ours, theirs string
	where              func() bool // nil: on every machine
}

func onV1() bool    { _, err := os.Stat("/sys/fs/cgroup/memory"); return err == nil }
func noKcore() bool { _, err := os.Stat("/proc/kcore"); return err != nil }

var differences = []difference{
	{what: "mount of /", runtimes: "runc crun", fact: "mount /", ours: "* nodev,*", theirs: "* relatime,*",
		why: "no device node that came in an image works; those that a container needs are in a /dev of our own"},
	{what: "signal at the parent's death", runtimes: "runc crun", fact: "signal of the parent's death", ours: "9", theirs: "0",
		why: "a container never outlives the umiak that runs it, `kill -9` included; these two leave it to a shim"},
	{what: "session keyring", runtimes: "runc crun", fact: "session keyring", ours: "keyring 0;0;3f030000", theirs: "keyring 0;0;3f1*",
		why: "the owner need not be able to search and link a keyring that the processes inside possess anyway"},
	{what: "mount that hides a directory", runtimes: "runc crun", fact: "mount *", ours: "tmpfs nodev,noexec,nosuid,relatime,ro private", theirs: "tmpfs relatime,ro private",
		why: "an empty directory needs neither devices nor programs"},
	{what: "its file system", runtimes: "runc", fact: "file system *", ours: "mode=755,rw", theirs: "ro",
		why: "the mount is read-only, and nobody else has one of it"},
	{what: "its file system", runtimes: "crun", fact: "file system *", ours: "mode=755,rw", theirs: "rw,size=0k",
		why: "the same; `size=0` means no limit"},
	{what: "a hidden directory's mode", runtimes: "runc crun", fact: "path *", ours: "-rwxr-xr-x directory, empty true ok, create *", theirs: "-rwxrwxrwx directory, empty true ok, create EROFS",
		why: "what nobody can write to need not say that all may"},
	{what: "mount of /sys/fs/cgroup (v1)", runtimes: "runc crun", fact: "mount /sys/fs/cgroup", ours: "tmpfs *,ro private", theirs: "tmpfs *,rw private", where: onV1,
		why: "the spec says `ro`, and it is"},
	{what: "its file system", runtimes: "runc", fact: "file system /sys/fs/cgroup", ours: "mode=755,rw,size=64k", theirs: "mode=755,rw", where: onV1,
		why: "a dozen directories need no more"},
	{what: "its file system", runtimes: "crun", fact: "file system /sys/fs/cgroup", ours: "mode=755,rw,size=64k", theirs: "rw,size=1024k", where: onV1,
		why: "the same"},
	{what: "sources of the cgroup mounts (v1)", runtimes: "runc", fact: "source /sys/fs/cgroup/systemd", ours: "cgroup", theirs: "systemd", where: onV1,
		why: "a name only: the type is what the others have"},
	{what: "sources of the cgroup mounts (v1)", runtimes: "crun", fact: "source /sys/fs/cgroup*", ours: "*", theirs: "*", where: onV1,
		why: "names only"},
	{what: "cgroup, if its namespace is the host's (v1)", runtimes: "runc crun", fact: "cgroup", ours: "*", theirs: "*", where: onV1,
		why: "on v1 a run without limits gets no group of its own: the first process moved into one waits 5 to 20 ms"},
	{what: "the same in /sys/fs/cgroup (v1)", runtimes: "runc crun", fact: "part /sys/fs/cgroup/*", ours: "/", theirs: "/*", where: onV1,
		why: "as above"},
	{what: "superblock of /sys with a network of its own", runtimes: "runc", fact: "file system /sys", ours: "rw", theirs: "ro",
		why: "the mount is read-only"},
	{what: "/dev/core", runtimes: "runc", fact: "node /dev/core", ours: "L--------- 0:0 to /proc/kcore", theirs: "", where: noKcore,
		why: "runc makes the link only where the kernel has /proc/kcore; docker's containers have it hidden anyway"},
	{what: "domain name", runtimes: "runc", fact: "domain name", ours: "example.org", theirs: "(none)",
		why: "runc 1.1 does not know the field"},
	{what: "standard streams", runtimes: "runc", fact: "descriptors", ours: "0=/dev/null 1=pipe 2=pipe", theirs: "0=pipe 1=pipe 2=pipe",
		why: "ours are the caller's own, not copies of them"},
	{what: "standard input", runtimes: "runc", fact: "stream 0", ours: "0, owner 0:0, mode 666", theirs: "0, owner *:0, mode 600",
		why: "as above"},
	{what: "output conversion of a terminal", runtimes: "runc", fact: "terminal modes", ours: "02400 05 *", theirs: "02400 01 *",
		why: "runc in the foreground turns ONLCR off; docker leaves it on, and so do we"},
	{what: "calls that the filter does not know", runtimes: "crun", fact: "call no such call (*)", ours: "ENOSYS", theirs: "EPERM",
		why: "a program falls back after ENOSYS as on an older kernel, and gives up after EPERM (glibc and clone3); runc does the same"},
	{what: "mount that hides a file", runtimes: "crun", fact: "mount *", ours: "tmpfs nosuid,rw private", theirs: "devtmpfs *",
		why: "the null device of the container's own /dev, not the host's, as runc has it"},
	{what: "its file system", runtimes: "crun", fact: "file system *", ours: "mode=755,rw,size=65536k", theirs: "mode=755,nr_inodes=*",
		why: "as above"},
	{what: "its source", runtimes: "crun", fact: "source *", ours: "tmpfs", theirs: "devtmpfs",
		why: "as above"},
	{what: "mount of a read-only path", runtimes: "crun", fact: "mount /proc/*", ours: "proc nodev,noexec,nosuid,relatime,ro private", theirs: "proc relatime,ro private",
		why: "it keeps what /proc itself is mounted with, as runc has it"},
	{what: "mount of /dev/console", runtimes: "crun", fact: "mount /dev/console", ours: "devpts noexec,nosuid,relatime,rw private", theirs: "devpts relatime,rw private",
		why: "it keeps what /dev/pts is mounted with, as runc has it"},
	{what: "owner of /dev/null", runtimes: "crun", fact: "node /dev/null", ours: "Dc--------- 0:0 *", theirs: "Dc--------- 1000:*",
		why: "crun gives it away with standard input"},
	{what: "standard input from /dev/null", runtimes: "crun", fact: "stream 0", ours: "0, owner 0:0, mode 666", theirs: "02, *",
		why: "ours is the caller's; crun opens the container's, for writing too"},
	{what: "group of the streams", runtimes: "crun", fact: "stream *", ours: "01, owner 1000:0, *", theirs: "01, owner 1000:100*",
		why: "the user must be able to open /dev/stdout again, and needs no group for it; runc does the same"},
}
