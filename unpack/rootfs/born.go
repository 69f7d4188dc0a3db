package rootfs

import "golang.org/x/sys/unix"

// born is what a new file has before anything is set: the calls that would set just that can be saved, two for nearly every file.
//
// It is looked at rather than reckoned from umask and ids: a mount may give files their directory's group (bsdgroups), a file
// server may make root nobody.
type born struct {
	uid, gid uint32
	mode     uint32 // what is left of 0777
}

const probeName = "umiak-probe"

// probe finds out how files are born in an open directory that is empty and ours alone; nil: not as open(2) describes it.
func probe(dir int) (*born, error) {
	all, err := probeMode(dir, 0o777)
	if err != nil {
		return nil, err
	}
	none, err := probeMode(dir, 0)
	if err != nil || none.Mode&0o7777 != 0 || all.Mode&0o7000 != 0 {
		return nil, err
	}
	return &born{uid: all.Uid, gid: all.Gid, mode: all.Mode & 0o777}, nil
}

func probeMode(dir int, mode uint32) (st unix.Stat_t, err error) {
	fd, err := openat(dir, probeName, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW, mode)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return st, err
	}
	return st, unix.Unlinkat(dir, probeName, 0)
}

// owned tells whether what we create belongs to whom a says from the start.
func (d *Dir) owned(a Attrs) bool {
	return d.born != nil && d.born.uid == a.UID && d.born.gid == a.GID
}

// createMode is what to create a file with. One that gets extended attributes must be writable as long as they are set: user.* is
// asked for like contents. Those who might look in too early are kept out by the mode of the root.
func (d *Dir) createMode(a Attrs) uint32 {
	if d.born == nil || len(a.Xattrs) > 0 {
		return 0o600
	}
	return a.Mode & 0o777
}

// chmodNeeded tells whether a file created with createMode does not have the right mode yet.
func (d *Dir) chmodNeeded(a Attrs) bool {
	return d.born == nil || len(a.Xattrs) > 0 || a.Mode&0o7777&^d.born.mode != 0
}
