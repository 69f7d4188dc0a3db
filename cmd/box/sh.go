package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// sh is mvdan.cc/sh's interpreter behind a shell's command line. What that lacks we lack: job control, traps of
// signals, an exec that replaces the process.
func sh(s streams, args []string) error {
	given, operands, err := options(args, "ceuxis")
	if err != nil {
		return err
	}
	name, script := "sh", ""
	switch {
	case has(given, 'c') && len(operands) == 0:
		return errUsage
	case has(given, 'c'):
		script, operands = operands[0], operands[1:]
		if len(operands) > 0 {
			name, operands = operands[0], operands[1:]
		}
	case len(operands) > 0 && !has(given, 's'):
		name = operands[0]
		operands = operands[1:]
		data, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintf(s.err, "sh: %v\n", err)
			return status(127)
		}
		script = string(data)
	default:
		return shInput(s, has(given, 'i'), params(given, operands))
	}
	r, err := newRunner(s, params(given, operands))
	if err != nil {
		return err
	}
	return runScript(s, r, name, script)
}

// params says options and positional parameters in the words of set.
func params(given map[byte]string, operands []string) []string {
	var all []string
	for _, letter := range []byte("eux") {
		if has(given, letter) {
			all = append(all, "-"+string(letter))
		}
	}
	return append(append(all, "--"), operands...)
}

func newRunner(s streams, params []string) (*interp.Runner, error) {
	return interp.New(interp.StdIO(s.in, s.out, s.err), interp.Params(params...),
		interp.ExecHandlers(outlive), interp.CallHandler(notBuiltin))
}

// outlive keeps a command from being killed because its line was interrupted: the terminal has already sent SIGINT to
// it, and what it does about that is its own affair.
func outlive(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		if ctx.Err() != nil { // interrupted before there was a command to hear of it
			return ctx.Err()
		}
		return next(context.WithoutCancel(ctx), args)
	}
}

// notBuiltin sends kill to our own command: the interpreter takes the name for a builtin that it does not have.
func notBuiltin(ctx context.Context, args []string) ([]string, error) {
	if args[0] != "kill" {
		return args, nil
	}
	hc := interp.HandlerCtx(ctx)
	path, err := interp.LookPathDir(hc.Dir, hc.Env, "kill")
	if err != nil {
		return args, nil
	}
	return append([]string{path}, args[1:]...), nil
}

func runScript(s streams, r *interp.Runner, name, script string) error {
	file, err := syntax.NewParser().Parse(strings.NewReader(script), name)
	if err != nil {
		fmt.Fprintf(s.err, "sh: %v\n", err)
		return status(2)
	}
	return shStatus(s, r.Run(context.Background(), file))
}

// shStatus turns what the interpreter returned into a status; anything but a status is the interpreter's own trouble.
func shStatus(s streams, err error) error {
	if err == nil {
		return nil
	}
	if code, ok := errors.AsType[interp.ExitStatus](err); ok {
		return status(code)
	}
	if !errors.Is(err, context.Canceled) {
		fmt.Fprintf(s.err, "sh: %v\n", err)
		return status(1)
	}
	return status(130)
}

// shInput reads commands from standard input and runs each as soon as it is whole, with a prompt on a terminal.
func shInput(s streams, interactive bool, params []string) error {
	if f, ok := s.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		interactive = true
	}
	r, err := newRunner(s, params)
	if err != nil {
		return err
	}
	l := lines{streams: s, r: r, input: &byteReader{r: s.in}}
	if interactive {
		interp.Interactive(true)(r)
		l.prompt = "$ "
		l.interrupts = make(chan os.Signal, 1)
		signal.Reset(os.Interrupt) // takes SIGINT back from endBySignal: here it ends a line, not the shell
		signal.Notify(l.interrupts, os.Interrupt)
		defer signal.Stop(l.interrupts)
	}
	return l.run()
}

// lines is a shell that reads its commands line by line.
type lines struct {
	streams
	r          *interp.Runner
	input      io.Reader
	prompt     string         // empty when nobody is there to see it
	interrupts chan os.Signal // nil then
	last       error          // what the latest command ended with
	exited     bool           // that one was exit, or as good as
}

func (l *lines) run() error {
	for {
		err := l.statements()
		switch {
		case l.exited:
			return l.last
		case err == nil: // the end of the input
			if l.prompt != "" {
				fmt.Fprintln(l.err)
			}
			l.exitTrap()
			return l.last
		}
		fmt.Fprintf(l.err, "sh: %v\n", err)
		l.last = status(2)
		if l.prompt == "" {
			return l.last
		}
	}
}

// statements runs all up to the end of the input, exit, or a mistake in the syntax.
func (l *lines) statements() error {
	idle := l.watch()
	defer func() { idle() }()
	parser := syntax.NewParser()
	l.ask(l.prompt)
	for stmts, err := range parser.InteractiveSeq(l.input) {
		if err != nil {
			return err
		}
		if parser.Incomplete() {
			l.ask("> ")
			continue
		}
		idle()
		for _, stmt := range stmts {
			if !l.statement(stmt) {
				break
			}
		}
		if l.exited {
			return nil
		}
		idle = l.watch()
		l.ask(l.prompt)
	}
	return nil
}

func (l *lines) ask(prompt string) {
	if l.prompt != "" {
		fmt.Fprint(l.err, prompt)
	}
}

// statement runs one and tells whether the rest of its line is to be run. The interpreter takes an interrupt for an exit;
// to us it is the end of the line.
func (l *lines) statement(stmt *syntax.Stmt) (more bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := l.onInterrupt(cancel)
	l.last = shStatus(l.streams, l.r.Run(ctx, stmt))
	stop()
	if ctx.Err() != nil {
		l.ask("\n")
		return false
	}
	l.exited = l.r.Exited()
	return !l.exited
}

// watch answers an interrupt of an idle prompt with a new one; the terminal has thrown the typed line away.
func (l *lines) watch() (stop func()) {
	return l.onInterrupt(func() { l.ask("\n" + l.prompt) })
}

// onInterrupt calls do for each SIGINT until stop, after which it is called no more.
func (l *lines) onInterrupt(do func()) (stop func()) {
	if l.interrupts == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-l.interrupts:
				do()
			case <-quit:
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(quit); <-ended })
}

// exitTrap runs what `trap … EXIT` asked for, which the interpreter does at the end of a file only. The status of the
// shell stays that of its last command.
func (l *lines) exitTrap() {
	l.r.Run(context.Background(), &syntax.File{})
}

// byteReader reads one byte at a time, as shells do from what they can't seek in: the rest of the input belongs to the
// commands that are run. It ends the last line, without which the parser would wait for the rest of it.
type byteReader struct {
	r    io.Reader
	last byte
}

func (b *byteReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.r.Read(p[:1])
	if n == 0 && err == io.EOF && b.last != 0 && b.last != '\n' {
		p[0], n, err = '\n', 1, nil
	}
	if n == 1 {
		b.last = p[0]
	}
	return n, err
}

// byShell makes a command of one of the shell's builtins.
func byShell(builtin string) func(streams, []string) error {
	return func(s streams, args []string) error {
		r, err := newRunner(s, append([]string{"--"}, args...))
		if err != nil {
			return err
		}
		return runScript(s, r, builtin, builtin+` "$@"`)
	}
}
