// SPDX-License-Identifier: GPL-2.0
/* Gets huge pages where it asks for them. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
int main(){char b[300];FILE*F=fopen("/sys/kernel/mm/transparent_hugepage/enabled","r");if(F){fgets(b,99,F);printf("thp %s",b);fclose(F);}else puts("no thp");
for(int i=0;i<2;i++){struct rusage a,c;char*p=mmap(0,34<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);if(i)printf("madvise %d\n",madvise(p,34<<20,MADV_HUGEPAGE));getrusage(0,&a);memset(p,1,32<<20);getrusage(0,&c);printf("faults %s\n",c.ru_minflt-a.ru_minflt>1000?"many":"few");F=fopen("/proc/self/smaps_rollup","r");while(F&&fgets(b,200,F))if(strstr(b,"AnonHuge"))printf("%s",b);if(F)fclose(F);munmap(p,34<<20);}}
