package cli

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// owners are the ids that a file belongs to.
func owners(fi os.FileInfo) (uid, gid int) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, -1
	}
	return int(st.Uid), int(st.Gid)
}

// owner is the uid that a file belongs to, -1 if that can't be told.
func owner(fi os.FileInfo) int {
	uid, _ := owners(fi)
	return uid
}

// sizeText is a size for people, in the decimal units that registries and disks are sold by.
func sizeText(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if f < 999.5 {
			break
		}
		f, unit = f/1000, u
	}
	return strconv.FormatFloat(f, 'g', 3, 64) + " " + unit
}

// bytesText is a memory limit as it is written on the command line.
func bytesText(n *int64) string {
	if n == nil {
		return "the cgroup above"
	}
	f, unit := *n, ""
	for _, u := range []string{"k", "m", "g"} {
		if f%1024 != 0 {
			break
		}
		f, unit = f/1024, u
	}
	return strconv.FormatInt(f, 10) + unit
}

// agoText is a time that has passed, in its largest unit.
func agoText(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / u.size); n == 1 {
			return "1 " + u.name + " ago"
		} else if n > 1 {
			return itoa(n) + " " + u.name + "s ago"
		}
	}
	return "just now"
}
