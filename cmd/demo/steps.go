package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A step is a command of umiak's and what must come of it.
type step struct {
	name, say string
	args      []string // of umiak
	status    int
	out, err  []claim // about standard output and standard error
	plain     bool    // for those who are not root; all other steps need root
	offline   bool    // the registry is closed before this step
}

// A claim is something the output shows: a pattern that is in it, or with not, one that isn't.
type claim struct {
	what, pattern string
	not           bool
}

// outcome is what a command did.
type outcome struct {
	status   int
	out, err string
}

// check tells every difference between what was to come of the step and what came.
func (s step) check(got outcome) error {
	var errs []error
	if got.status != s.status {
		errs = append(errs, fmt.Errorf("exit status %d, expected %d", got.status, s.status))
	}
	for _, side := range []struct {
		name, text string
		claims     []claim
	}{{"standard output", got.out, s.out}, {"standard error", got.err, s.err}} {
		for _, c := range side.claims {
			if regexp.MustCompile("(?m)"+c.pattern).MatchString(side.text) == c.not {
				without := "nothing like"
				if c.not {
					without = "something like"
				}
				errs = append(errs, fmt.Errorf("expected: %s; but %s has %s %q", c.what, side.name, without, c.pattern))
			}
		}
	}
	return errors.Join(errs...)
}

// look is the command line that shows where a container's process finds itself.
const look = "echo pid $$; hostname; ps; mount; limits; id"

// flattened looks at what the second layer did to the first: changed, removed, emptied, added.
const flattened = "cat /etc/motd; ls /etc /srv/data; ls -l /usr/local /usr"

// steps are the whole demo, for the image of that name and digest.
func steps(image, digest string) []step {
	host, _ := os.Hostname()
	return []step{
		{name: "refused without root", plain: true, say: "What a plain user gets: the reason, the remedy and status 125.",
			args: []string{"run", image, "true"}, status: 125,
			err: []claim{{what: "the reason", pattern: `^umiak: error: .*needs root`}, {what: "the remedy", pattern: `^umiak: hint: .*sudo`}}},
		{name: "pull", say: "Pull the image: one bar over all bytes, and the digest last.",
			args: []string{"pull", image},
			out:  []claim{{what: "the digest of what the registry holds, last", pattern: regexp.QuoteMeta(digest) + `\s*\z`}}},
		{name: "explain", say: "Every step that makes a container, in order, without running one.",
			args: []string{"run", "--explain", image, "sh"},
			out:  []claim{{what: "the new root", pattern: `pivot_root`}}},
		{name: "look around", say: "Run a shell in it, with limits: it is pid 1, sees its own processes, mounts and host name, and its limits.",
			args: []string{"run", "--memory", "100m", "--pids-limit", "50", image, "sh", "-c", look},
			out: []claim{
				{what: "the shell is pid 1", pattern: `^pid 1$`},
				{what: "a host name of its own", pattern: `^pid 1\n` + regexp.QuoteMeta(host) + `$`, not: true},
				{what: "the shell is the first process in ps", pattern: `PID.*COMMAND\n +1 +0 root +\w+ +sh -c`},
				{what: "no process of the host's", pattern: `umiak(\.test)? run`, not: true},
				{what: "a root of its own", pattern: ` on / type `},
				{what: "a proc of its own", pattern: `^proc on /proc type proc`},
				{what: "the limit of memory", pattern: `^memory +100M`},
				{what: "the limit of processes", pattern: `^pids +50$`},
				{what: "it is root inside", pattern: `^uid=0\(root\)`},
			}},
		{name: "layers", say: "The two layers became one tree: a file changed, one removed, a directory emptied, a setuid bit and a link added.",
			args: []string{"run", image, "sh", "-c", flattened},
			out: []claim{
				{what: "the file of layer 2", pattern: `^the motd of layer 2$`},
				{what: "no file that layer 2 removes", pattern: `^obsolete$`, not: true},
				{what: "the new file of the opaque directory", pattern: `^new$`},
				{what: "no old file in the opaque directory", pattern: `^old$`, not: true},
				{what: "no whiteout in the tree", pattern: `\.wh\.`, not: true},
				{what: "the setuid bit", pattern: `^-rwsr-xr-x .* setuid$`},
				{what: "the absolute link", pattern: `^lrwxrwxrwx .* bin -> /bin$`},
			}},
		{name: "memory limit", say: "A hungry program takes 10 MB each half second, of 100 MB. The kernel ends it, and umiak says why.",
			args: []string{"run", "--memory", "100m", image, "eat", "10m", "0.5"}, status: 137,
			out: []claim{{what: "it got some of the memory", pattern: `^ate 50M$`}, {what: "it did not get all", pattern: `^ate 100M$`, not: true}},
			err: []claim{{what: "the memory limit named as the cause", pattern: `memory limit`}}},
		{name: "registry gone", offline: true, say: "Now the registry is gone. A pull says so, in one line and a hint.",
			args: []string{"pull", image}, status: 125,
			err: []claim{{what: "an error", pattern: `umiak: error: `}, {what: "a hint", pattern: `umiak: hint: `}}},
		{name: "run offline", say: "But what was pulled runs as before, with not one socket opened…",
			args: []string{"run", "--offline", image, "sh", "-c", "echo $GREETING; pwd"},
			out:  []claim{{what: "the image's environment and directory", pattern: `^hello from the image\n/root$`}}},
		{name: "run again", say: "…and without being told so; the exit status is the command's own.",
			args: []string{"run", image, "sh", "-c", "exit 42"}, status: 42},
		{name: "images", say: "The images that are here.", args: []string{"images"},
			out: []claim{{what: "the image's name", pattern: regexp.QuoteMeta(strings.TrimSuffix(image, "/demo"))}}},
		{name: "rmi", say: "And away with it.", args: []string{"rmi", image}},
		{name: "nothing left", say: "Nothing is left of it.", args: []string{"images"},
			out: []claim{{what: "no such image", pattern: regexp.QuoteMeta(strings.TrimSuffix(image, "/demo")), not: true}}},
	}
}
