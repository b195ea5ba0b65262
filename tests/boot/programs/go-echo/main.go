// SPDX-License-Identifier: GPL-2.0
// A TCP echo server with goroutines. Before it serves, it prints a line for each part that works.

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

func crash() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("recovered: %v", r)
		}
	}()
	var p *int
	*p = 1
	return nil
}

func main() {
	fmt.Println(crash())
	var wg sync.WaitGroup
	results := make(chan int, 100)
	for i := 0; i < 100; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			time.Sleep(time.Millisecond)
			b := make([]byte, 1<<16)
			results <- len(b) + i
		}(i)
	}
	wg.Wait()
	runtime.GC()
	close(results)
	sum := 0
	for r := range results {
		sum += r
	}
	fmt.Println("sum", sum, runtime.NumCPU() > 0)
	comm, _ := os.ReadFile("/proc/self/comm")
	fmt.Print("comm ", string(comm))
	if len(os.Args) > 1 {
		os.Exit(len(os.Args))
	}
	l, err := net.Listen("tcp", ":5555")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer c.Close()
			io.Copy(c, bufio.NewReader(c))
		}()
	}
}
