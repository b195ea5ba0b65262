// SPDX-License-Identifier: GPL-2.0
/* Executes code that it has made. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
int main(void){
  unsigned char code[]={0x8d,0x47,0x01,0xc3}; /* lea eax,[rdi+1]; ret */
  unsigned char *p=mmap(0,4096,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
  memcpy(p,code,sizeof code);
  printf("mprotect %d\n", mprotect(p,4096,PROT_READ|PROT_EXEC)); fflush(stdout);
  int (*f)(int)=(void*)p;
  printf("%d\n", f(41));
  return 0; }
