// SPDX-License-Identifier: GPL-2.0
/* Asks the C library for names: services, protocols, users, zones, locales, limits. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <locale.h>
#include <iconv.h>
#include <wchar.h>
#include <wctype.h>
#include <pwd.h>
#include <grp.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/auxv.h>
#include <langinfo.h>
static void gai(const char *h,const char *s,int fam,int type){
 struct addrinfo hint={.ai_family=fam,.ai_socktype=type},*r=0; struct timespec a,b; clock_gettime(CLOCK_MONOTONIC,&a);
 int e=getaddrinfo(h,s,&hint,&r); clock_gettime(CLOCK_MONOTONIC,&b);
 printf("gai %s %s fam=%d type=%d: %d %s %s%s\n",h?h:"-",s?s:"-",fam,type,e,e?gai_strerror(e):"",e==EAI_SYSTEM?strerror(errno):"",b.tv_sec-a.tv_sec>10?" SLOW":"");
 for(struct addrinfo*p=r;p;p=p->ai_next){char n[100]="",v[30]="";getnameinfo(p->ai_addr,p->ai_addrlen,n,100,v,30,NI_NUMERICHOST|NI_NUMERICSERV);printf("   %s %s\n",n,v);}
 if(r)freeaddrinfo(r);}
int main(int c,char**v){
 setvbuf(stdout,0,_IOLBF,0);
 gai("localhost","http",0,SOCK_STREAM); gai("localhost","80",0,SOCK_STREAM); gai(0,"http",0,SOCK_STREAM); gai("127.0.0.1","domain",0,SOCK_DGRAM);
 gai("localhost","nosuch",0,SOCK_STREAM);gai("::1","80",0,SOCK_STREAM);gai("localhost","80",AF_INET6,SOCK_STREAM);gai("ip6-localhost","80",0,SOCK_STREAM);
 char longn[300];memset(longn,'a',70);longn[70]=0;gai(longn,"80",0,SOCK_STREAM);
 if(c>1)gai("example.invalid","80",0,SOCK_STREAM);
 struct servent*s=getservbyname("ntp","udp");printf("ntp/udp %d\n",s?ntohs(s->s_port):-1);s=getservbyname("https",0);printf("https %d\n",s?ntohs(s->s_port):-1);
 s=getservbyport(htons(22),"tcp");printf("22 %s\n",s?s->s_name:"-");
 struct protoent*p=getprotobyname("tcp");printf("proto tcp %d\n",p?p->p_proto:-1);p=getprotobynumber(17);printf("proto 17 %s\n",p?p->p_name:"-");p=getprotobyname("icmp");printf("icmp %d\n",p?p->p_proto:-1);
 struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(80),.sin_addr.s_addr=htonl(0x7f000001)};char n[100],w[40];
 int e=getnameinfo((void*)&a,sizeof a,n,100,w,40,0);printf("getnameinfo %d %s %s\n",e,e?"":n,e?"":w);
 struct passwd*pw=getpwnam("root");printf("root %s %s\n",pw?pw->pw_dir:"-",pw?pw->pw_shell:"-");pw=getpwnam("nobody");printf("nobody %d\n",pw?(int)pw->pw_uid:-1);pw=getpwuid(getuid());printf("me %s\n",pw?pw->pw_name:"-");
 struct group*g=getgrnam("root");printf("grp root %d\n",g?(int)g->gr_gid:-1);g=getgrnam("nogroup");printf("nogroup %d\n",g?(int)g->gr_gid:-1); g=getgrnam("tty");printf("tty %d\n",g?(int)g->gr_gid:-1);
 gid_t gs[20];int ng=20;printf("ggl %d",getgrouplist("root",0,gs,&ng));printf(" %d; initgroups %d\n",ng,initgroups("root",0));
 for(char**q=(char*[]){"Europe/Berlin","America/New_York","CET-1CEST,M3.5.0,M10.5.0/3","UTC","Nowhere/Here",0};*q;q++){setenv("TZ",*q,1);tzset();time_t t=1700000000;char b[99];strftime(b,99,"%F %T %Z",localtime(&t));printf("%s: %s\n",*q,b);}
 for(char**q=(char*[]){"de_DE.UTF-8","en_US.UTF-8","C.UTF-8","POSIX",0};*q;q++){setenv("LANG",*q,1);char*l=setlocale(LC_ALL,"");wchar_t wc[9];size_t r=mbstowcs(wc,"\xc3\xa4",9);printf("%s: %s mbstowcs %zd codeset %s up %x\n",*q,l?l:"-",r,nl_langinfo(CODESET),towupper(0xe4));}
 for(char**q=(char*[]){"LATIN1","ISO-8859-15","SJIS","UTF-8//TRANSLIT","UTF-16LE","UCS-4LE","CP1252","ASCII//TRANSLIT",0};*q;q++){errno=0;iconv_t i=iconv_open(*q,"UTF-8");printf("iconv %s %s\n",*q,i==(iconv_t)-1?strerror(errno):"ok");}
 printf("MINSIGSTKSZ auxv %s sysconf %s\n",getauxval(51)?"there":"missing",sysconf(_SC_MINSIGSTKSZ)>0?"there":"no");
 printf("nproc %ld %ld pagesz %ld\n",sysconf(_SC_NPROCESSORS_ONLN),sysconf(_SC_NPROCESSORS_CONF),sysconf(_SC_PAGESIZE));
 for(int i=0;i<16;i++){struct rlimit r,r2,bad;int x=getrlimit(i,&r);int y=setrlimit(i,&r);int z=getrlimit(i,&r2);bad.rlim_cur=10;bad.rlim_max=5;errno=0;int b=setrlimit(i,&bad);printf("rlimit %d: %d %lx/%lx set %d same %d bad %d %s\n",i,x,(long)r.rlim_cur,(long)r.rlim_max,y,z==0&&r.rlim_cur==r2.rlim_cur&&r.rlim_max==r2.rlim_max,b,strerror(errno));}
 char hn[99];gethostname(hn,99);printf("hostname %s\n",hn);
 struct hostent*he=gethostbyname(hn);printf("own name %s\n",he?"resolves":hstrerror(h_errno));
 return 0;}
