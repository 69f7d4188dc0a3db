package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/pull"
	"github.com/umiak/umiak/run/cgroup"
	"github.com/umiak/umiak/run/child"
	"github.com/umiak/umiak/run/spec"
)

// Exit statuses as chroot(1) and docker have them.
const (
	statusTimeout   = 124 // the time limit stopped the command, as timeout(1) has it
	statusError     = 125 // umiak itself failed
	statusCannotRun = 126 // the command is there and can't be started
	statusNotFound  = 127 // there is no such command
	statusSignal    = 128 // plus the signal that ended the command
)

// interrupted is the end by a signal before a container could take it.
type interrupted syscall.Signal

func (i interrupted) Error() string { return "interrupted by " + unix.SignalName(syscall.Signal(i)) }

// status is an exit status that needs no message: the command's own.
type status int

func (s status) Error() string { return "exit status " + strconv.Itoa(int(s)) }

func isStatus(err error) bool {
	var s status
	return errors.As(err, &s)
}

// hintError is an error with the remedy.
type hintError struct {
	err   error
	hints []string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

func hinted(err error, hints ...string) error { return &hintError{err, hints} }

// fail writes what is to be said of an error and gives the exit status for it.
func (a *App) fail(err error) int {
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	var s status
	if errors.As(err, &s) {
		return int(s)
	}
	hints, code := explain(err)
	a.say("error", err.Error())
	for _, h := range hints {
		a.say("hint", h)
	}
	return code
}

// say writes a line for the user. What an image or a registry put into it can't write to the
// terminal: control characters are shown, not obeyed.
func (a *App) say(kind, text string) {
	printable := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
	fmt.Fprintf(a.Err, "umiak: %s: %s\n", kind, printable)
}

// explain finds the hints for an error and its exit status. The cause decides, wherever in the
// chain it is.
func explain(err error) (hints []string, code int) {
	code = statusError
	if e, ok := errors.AsType[*child.Error](err); ok && e.Exec {
		code = execStatus(e.Errno)
	}
	if s, ok := errors.AsType[interrupted](err); ok {
		code = statusSignal + int(s)
	}
	if e, ok := errors.AsType[*hintError](err); ok {
		return e.hints, code
	}
	if e, ok := errors.AsType[usageError](err); ok {
		return []string{"see '" + e.command.CommandPath() + " --help'"}, code
	}
	if e, ok := errors.AsType[*image.RegistryError](err); ok && e.Hint != "" {
		return []string{e.Hint}, code
	}
	for _, r := range remedies {
		if r.applies(err) {
			return []string{r.hint}, code
		}
	}
	return nil, code
}

func execStatus(e syscall.Errno) int {
	if e == syscall.ENOENT || e == syscall.ENOTDIR {
		return statusNotFound
	}
	return statusCannotRun
}

// is makes a condition of a sentinel.
func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[E error](err error) bool { _, ok := errors.AsType[E](err); return ok }

// output125 is an error of writing to standard output: nothing to do with the cache or the image.
func output125(err error) error {
	if err == nil {
		return nil
	}
	return hinted(err, "standard output can't be written to")
}

// remedies are tried in order: the first that applies is the hint.
var remedies = []struct {
	applies func(error) bool
	hint    string
}{
	{is(pull.ErrNotCached), "pull it first: umiak pull IMAGE, or leave out --offline and --pull=never"},
	{is(image.ErrNotFound), "check the spelling and the tag; a private image looks the same to a client without credentials"},
	{is(image.ErrUnauthorized), "log in with 'docker login', or put the credentials into docker's config.json ($DOCKER_CONFIG, else ~/.docker)"},
	{as[*image.PlatformError], "choose one of them with --platform"},
	{is(digest.ErrMismatch), "the registry, or something between, changed the content; nothing of it was kept: try again"},
	{as[*image.UnreachableError], "check the network; a cached image runs without it: --offline"},
	{is(syscall.ENOSPC), "free some space, or move the cache: --root DIR or UMIAK_ROOT"},
	{is(syscall.EROFS), "move the cache to a place that can be written: --root DIR or UMIAK_ROOT"},
	{is(cache.ErrNotACache), "name an empty directory, or one that does not exist yet, with --root or UMIAK_ROOT"},
	{is(cache.ErrNewer), "use the umiak that made it, or another directory: --root DIR or UMIAK_ROOT"},
	{is(cache.ErrBusy), "another umiak is adding to the cache: try again when it is done"},
	{is(cgroup.ErrUnavailable), "leave the limit out, or run where that cgroup controller can be used"},
	{as[*child.CloneError], "namespaces need root for now: sudo umiak …"},
	{isPrivilege, "this needs root for now: sudo umiak …"},
	{is(spec.ErrInvalid), "see 'umiak run --help'"},
	{is(context.DeadlineExceeded), "the registry did not answer in time: try again"},
}

func isPrivilege(err error) bool {
	return (errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EPERM)) && os.Geteuid() != 0
}
