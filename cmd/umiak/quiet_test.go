package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// loud are calls that only the command line may make.
var loud = map[string][]string{
	"fmt": {"Print", "Println", "Printf"},
	"os":  {"Getenv", "LookupEnv", "Environ", "Setenv", "ExpandEnv", "Exit", "UserHomeDir", "UserCacheDir", "UserConfigDir"},
	"log": {"Print", "Println", "Printf", "Fatal", "Fatalf", "Panic"},
}

// The re-exec'ed child and the init are whole processes: they have an environment, and exit.
var exempt = map[string][]string{"../../run/child/reexec.go": {"Exit", "Environ"}}

func quiet(t *testing.T, file string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if d, ok := n.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
			t.Errorf("%s has an init function", file)
		}
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := s.X.(*ast.Ident)
		if ok && slices.Contains(loud[pkg.Name], s.Sel.Name) && !slices.Contains(exempt[file], s.Sel.Name) {
			t.Errorf("%s calls %s.%s", file, pkg.Name, s.Sel.Name)
		}
		return true
	})
}
