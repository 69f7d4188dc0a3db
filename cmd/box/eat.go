package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// eat is the hungry script of every container tutorial: it takes STEP bytes each SECONDS, and keeps them, until
// something stops it: a memory limit, or LIMIT.
//
// Memory comes straight from mmap and every page of it is written, since what counts against a cgroup is pages
// touched, not pages asked for, and since Go's collector must not find any of it unused.
func eat(s streams, args []string) error {
	limit := int64(1 << 62)
	if len(args) != 2 && len(args) != 3 {
		return errUsage
	}
	step, err := bytesOf(args[0])
	if err != nil {
		return err
	}
	pause, err := seconds(args[1:2])
	if err != nil {
		return err
	}
	if len(args) == 3 {
		if limit, err = bytesOf(args[2]); err != nil {
			return err
		}
	}
	for eaten := int64(0); eaten < limit; {
		if err := bite(step); err != nil {
			return fmt.Errorf("allocating %s more after %s: %w", human(step), human(eaten), err)
		}
		eaten += step
		fmt.Fprintf(s.out, "ate %s\n", human(eaten))
		time.Sleep(pause)
	}
	return nil
}

func bite(n int64) error {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += unix.Getpagesize() {
		b[i] = 1 // not zero: KSM and zswap keep a page of zeroes for nothing
	}
	return nil
}
