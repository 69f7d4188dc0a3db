package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A limit is a row of what limits prints: where version 1 and version 2 of cgroups keep it, and how to read it.
type limit struct {
	label      string
	controller string // of version 1; version 2 has one directory for all
	v1, v2     string
	show       func(content string) string
}

func limitTable() []limit {
	return []limit{
		{"memory", "memory", "memory.limit_in_bytes", "memory.max", showBytes},
		{"memory+swap", "memory", "memory.memsw.limit_in_bytes", "", showBytes},
		{"swap", "", "", "memory.swap.max", showBytes},
		{"pids", "pids", "pids.max", "pids.max", showPlain},
		{"cpus", "cpu", "cpu.cfs_quota_us cpu.cfs_period_us", "cpu.max", showCPU},
		{"cpu set", "cpuset", "cpuset.cpus", "cpuset.cpus.effective", showPlain},
	}
}

// limits prints the limits of the cgroups it is in, as far as the mounted cgroup file systems show them.
func limits(s streams, args []string) error {
	if len(args) > 0 {
		return errUsage
	}
	return printLimits(s.out, "/")
}

func printLimits(w io.Writer, root string) error {
	groups, err := findGroups(root)
	if err != nil {
		return err
	}
	if len(groups) == 0 {
		_, err := fmt.Fprintln(w, "no cgroup file system is mounted here, so the limits can't be seen")
		return err
	}
	printed := false
	for _, l := range limitTable() {
		if shown, ok := l.read(groups); ok {
			fmt.Fprintf(w, "%-12s %s\n", l.label, shown)
			printed = true
		}
	}
	if !printed { // the root of version 2 has none of these files
		fmt.Fprintln(w, "the mounted cgroup file systems hold no limit for this group")
	}
	return nil
}

// read finds the limit in the directories of groups, by controller; that of version 2 is "".
func (l limit) read(groups map[string]string) (string, bool) {
	dir, ok := groups[l.controller]
	files := l.v1
	if !ok || l.controller == "" {
		dir, ok = groups[""]
		files = l.v2
	}
	if !ok || files == "" {
		return "", false
	}
	var contents []string
	for file := range strings.FieldsSeq(files) {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return "", false
		}
		contents = append(contents, strings.TrimSpace(string(data)))
	}
	return l.show(strings.Join(contents, " ")), true
}

// findGroups tells this process's directory in every mounted cgroup hierarchy, by version 1 controller and, for
// version 2, by "".
func findGroups(root string) (map[string]string, error) {
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for line := range strings.Lines(string(own)) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 {
			for controller := range strings.SplitSeq(f[1], ",") {
				paths[controller] = f[2]
			}
		}
	}
	groups := map[string]string{}
	for line := range strings.Lines(string(mounts)) {
		front, back, _ := strings.Cut(line, " - ")
		f, b := strings.Fields(front), strings.Fields(back)
		if len(f) < 5 || len(b) < 3 || b[0] != "cgroup" && b[0] != "cgroup2" {
			continue
		}
		controllers := []string{""}
		if b[0] == "cgroup" {
			controllers = strings.Split(b[2], ",")
		}
		for controller, path := range paths {
			if slices.Contains(controllers, controller) {
				groups[controller] = filepath.Join(root, unescape(f[4]), below(unescape(f[3]), path))
			}
		}
	}
	return groups, nil
}

// below tells where path is inside a mount whose root is mountRoot. A group outside of it can't be shown; then the
// mount's own directory is the nearest there is, and the right one where a runtime bound just the group.
func below(mountRoot, path string) string {
	rel, err := filepath.Rel(mountRoot, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "."
	}
	return rel
}

func showPlain(content string) string {
	if content == "max" {
		return "no limit"
	}
	return content
}

// showBytes knows version 1's way of saying no limit: the largest int64 that is a whole number of pages.
func showBytes(content string) string {
	n, err := strconv.ParseInt(content, 10, 64)
	switch {
	case err != nil:
		return showPlain(content)
	case n >= math.MaxInt64-1<<20:
		return "no limit"
	}
	return fmt.Sprintf("%s (%d bytes)", human(n), n)
}

// showCPU turns quota and period into a number of CPUs; -1 and max are no quota.
func showCPU(content string) string {
	var quota, period float64
	if _, err := fmt.Sscan(content, &quota, &period); err != nil || quota < 0 || period <= 0 {
		return "no limit"
	}
	return strconv.FormatFloat(quota/period, 'f', -1, 64)
}
